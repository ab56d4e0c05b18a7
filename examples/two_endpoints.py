"""Route between two OpenAI-compatible endpoints: `two_endpoints.py [URL#WEAK URL#STRONG]`.

Without arguments llama.cpp's server runs the shipped models on loopback.
"""

import sys

from trim import OpenAIModel, Router

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7. "
    "5) last, add 19. What is the result?"
)


def start_loopback() -> list[str]:
    """The addresses of a weak and a strong server, which end with this process."""
    from loopback import start_server

    return [f"{start_server(name)}#{name}" for name in ("weak", "strong")]


def main() -> None:
    weak, strong = (address.split("#") for address in sys.argv[1:] or start_loopback())
    router = Router(weak=OpenAIModel(*weak), strong=OpenAIModel(*strong), policy="thr:0.95")
    trace = router.solve(QUESTION)
    for step in trace.steps:
        print(f"{step.author:>6}  {step.text.strip()}")
    print(f"answer {trace.answer}, {trace.strong_tokens} strong tokens")


if __name__ == "__main__":
    main()
