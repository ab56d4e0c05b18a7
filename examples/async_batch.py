"""Solve many problems at a time in one event loop, at most eight of them under way."""

import asyncio

from trim import Router, Trace

QUESTIONS = [
    f"Start with {start}. 1) subtract 9. 2) add 17. 3) decrease it by 4. 4) multiply by 2. "
    "5) last, subtract 6. What is the result?"
    for start in range(12, 32, 2)
]


async def solve_all(router: Router, questions: list[str], limit: int = 8) -> list[Trace]:
    """The traces, in the order of the questions."""
    places = asyncio.Semaphore(limit)

    async def solve(question: str) -> Trace:
        async with places:
            return await router.asolve(question)

    return await asyncio.gather(*map(solve, questions))


def main() -> None:
    traces = asyncio.run(solve_all(Router.from_config(), QUESTIONS))
    for trace in traces:
        print(f"{trace.answer:>4}  {trace.strong_tokens:>3} strong tokens  {trace.question[:40]} …")


if __name__ == "__main__":
    main()
