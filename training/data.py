"""Training data: problems, and solutions whose steps are compared with the right ones."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from trim.engines.llama_cpp import LlamaCppEngine
from trim.evaluation.suites import PROGRAM, SUITES, Suite, SuiteProblem, draw_for_training
from trim.files import sha256_of, write_atomically
from trim.steps import MAX_STEPS, join_steps, split_steps

TRAINING_SUITES: dict[str, Suite] = {**SUITES, PROGRAM.name: replace(PROGRAM, fewest=3, most=6)}
"""The suites that the generators are trained on: programs are a line shorter."""
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class ComparedSolution:
    """A solution and how far each of its steps agrees with the right one.

    Attributes:
        question, steps: the texts.
        agreeing: for each step, the number of leading characters that it shares with the right
            step; its full length if and only if the step is right.
    """

    question: str
    steps: tuple[str, ...]
    agreeing: tuple[int, ...]


def compare(problem: SuiteProblem, steps: list[str]) -> ComparedSolution:
    """Compare the steps written for a problem with the suite's own."""
    agreeing = []
    for index, step in enumerate(steps):
        following = SUITES[problem.suite].next_step(problem, steps[:index])
        right = following.text if following else ""
        # An impossible operation is right up to the result that it claims.
        limit = len(right) if following and following.possible else right.rfind(" = ")
        common = max(0, min(common_prefix(step, right), limit))
        stops_early = common == len(step) < len(right)
        agreeing.append(common - stops_early)
    return ComparedSolution(problem.question, tuple(steps), tuple(agreeing))


def slip_often(problem: SuiteProblem, random: Random, share: float = 0.35) -> ComparedSolution:
    """The reference solution with slips in a `share` of its steps, from which it continues.

    Slips cost nothing to generate, and cover errors that a model's own solutions rarely show.
    """
    steps: list[str] = []
    for _ in problem.steps:
        following = SUITES[problem.suite].next_step(problem, steps)
        if following is None:
            break
        slips = random.random() < share
        steps.append(slip(following.text, random) if slips else following.text)
    return compare(problem, steps)


def slip(step: str, random: Random) -> str:
    """Change one number, mostly the result, at all its later occurrences in a step."""
    start = step.find(" = ") if random.random() < 0.7 else 0
    numbers = [number for number in NUMBER.finditer(step) if number.start() >= start]
    if not numbers:
        return step
    number = random.choice(numbers[:2])
    right = number.group()
    nearby = [int(right) + change for change in (-10, -2, -1, 1, 2, 10)]
    wrong = random.choice([value for value in nearby if value >= 0] + [random.randint(0, 99)])
    head, tail = step[: number.start()], step[number.start() :]
    return head + re.sub(rf"\b{right}\b", str(wrong), tail)


def common_prefix(a: str, b: str) -> int:
    """Length of the common prefix of two texts."""
    different = (i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1])
    return next(different, min(len(a), len(b)))


def draw_problems(name: str, shares: dict[str, float], count: int, seed: int) -> list[SuiteProblem]:
    """Draw training problems; `shares` gives the share of each suite."""
    random = Random(f"rollouts/{name}/{seed}")
    suites = random.choices(list(shares), list(shares.values()), k=count)
    return [draw_for_training(SUITES[suite], random) for suite in suites]


async def sample_solutions(gguf: Path, problems: list[SuiteProblem], seed: int) -> dict[str, str]:
    """Solve problems with the model in `gguf`, sampled as in the paper; solutions by question."""
    engine = LlamaCppEngine(gguf, slots=8)
    random = Random(f"sampling/{gguf.stem}/{seed}")
    waiting = [(problem.question, random.getrandbits(31)) for problem in problems]
    solutions: dict[str, str] = {}

    async def work() -> None:
        while waiting:
            question, sampling_seed = waiting.pop()
            answer = await engine.complete(
                join_steps(question, ()),
                n_predict=600,
                temperature=0.7,
                top_p=0.8,
                top_k=20,
                min_p=0.0,
                seed=sampling_seed,
            )
            solutions[question] = answer.text

    await asyncio.gather(*(work() for _ in range(8)))
    return solutions


def make_solutions(
    gguf: Path, shares: dict[str, float], count: int, seed: int, path: Path
) -> list[ComparedSolution]:
    """Solutions by one model, compared.

    `path` caches the texts for a repeated run; those of another model file, seed or of other
    problems are made again.
    """
    problems = draw_problems(gguf.stem, shares, count, seed)
    made_by = {"model": sha256_of(gguf), "seed": seed}
    cached = json.loads(path.read_text()) if path.exists() else {}
    solutions: dict[str, str] = cached.pop("solutions", {})
    if cached != made_by or solutions.keys() != {problem.question for problem in problems}:
        solutions = asyncio.run(sample_solutions(gguf, problems, seed))
        write_atomically(path, json.dumps({**made_by, "solutions": solutions}))

    def steps_of(problem: SuiteProblem) -> list[str]:
        return [step.strip() for step in split_steps(solutions[problem.question])[:MAX_STEPS]]

    return [compare(problem, steps_of(problem)) for problem in problems]
