"""Grade steps with a scorer of your own: recompute every equation in a step."""

import re
from collections.abc import Sequence

import trim
from trim import Completion, Prefix, Router, RouterConfig, Sampling, Scores

QUESTION = (
    "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7. "
    "5) last, add 19. What is the result?"
)
EQUATION = re.compile(r"(-?\d+) ([-+*/]) (\d+) = (-?\d+)")


class ArithmeticScorer:
    """1 where all equations of a step hold, 0 where one is wrong, 0.5 without any."""

    name = "arithmetic"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return Scores(tuple(self.grade(step.text) for step in written), prompt_tokens=0)

    def grade(self, text: str) -> float:
        found = EQUATION.findall(text)
        right = [self.value(int(a), sign, int(b)) == int(result) for a, sign, b, result in found]
        return 0.5 if not right else float(all(right))

    def value(self, a: int, sign: str, b: int) -> int:
        return {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]


def main() -> None:
    models = trim.shipped_models()
    router = Router(
        weak=models.weak,
        strong=models.strong,
        scorer=ArithmeticScorer(),
        policy="thr:0.4",
        config=RouterConfig(sampling=Sampling(max_tokens=96)),
    )
    trace = router.solve(QUESTION)
    for step in trace.steps:
        print(f"{step.author:>6}  {step.score}  {step.text.strip()}")
    print(f"answer {trace.answer}")


if __name__ == "__main__":
    main()
