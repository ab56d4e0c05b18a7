"""Limit what a problem may cost: solve one under falling limits of strong tokens."""

import trim
from trim import Router, RouterConfig, Sampling

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7. "
    "5) last, add 19. What is the result?"
)


def main() -> None:
    models = trim.shipped_models()
    for limit in (None, 10, 0):
        router = Router(
            weak=models.weak,
            strong=models.strong,
            scorer=models.scorer,
            policy="thr:0.95",
            config=RouterConfig(sampling=Sampling(max_tokens=96), max_strong_tokens=limit),
        )
        trace = router.solve(QUESTION)
        denied = sum(step.denied for step in trace.steps)
        print(
            f"limit {limit}: answer {trace.answer}, {trace.strong_tokens} strong tokens,"
            f" {denied} rewrites denied"
        )


if __name__ == "__main__":
    main()
