"""Solutions by a generator on training problems, each step labelled by the exact check."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from trim.engines.llama_cpp import LlamaCppEngine
from trim.evaluation.suites import SUITES, Problem, Suite, draw_for_training, is_step_right
from trim.files import write_atomically
from trim.steps import join_steps, split_steps


@dataclass(frozen=True)
class Rollout:
    """A question, the steps as written, and whether each of them is right."""

    question: str
    steps: tuple[str, ...]
    labels: tuple[bool, ...]


def label(suite: Suite, problem: Problem, steps: list[str]) -> Rollout:
    labels = [is_step_right(suite, problem, steps[:i], step) for i, step in enumerate(steps)]
    return Rollout(problem.question, tuple(steps), tuple(labels))


async def sample_rollouts(
    gguf: Path, shares: dict[str, float], count: int, seed: int
) -> list[Rollout]:
    """Let the model in `gguf` solve `count` training problems at the method's settings."""
    engine = LlamaCppEngine(gguf, slots=8)
    random = Random(f"rollouts/{gguf.stem}/{seed}")
    names = random.choices(list(shares), list(shares.values()), k=count)
    problems = [draw_for_training(SUITES[name], random) for name in names]
    waiting = iter(range(count))
    rollouts: dict[int, Rollout] = {}

    async def work() -> None:
        for index in waiting:
            problem = problems[index]
            answer = await engine.complete(
                join_steps(problem.question, ()),
                n_predict=600,
                temperature=0.7,
                top_p=0.8,
                top_k=20,
                min_p=0.0,
                seed=random.getrandbits(31),
            )
            steps = split_steps(answer.text)[:30]
            if steps:
                rollouts[index] = label(SUITES[names[index]], problem, steps)

    await asyncio.gather(*(work() for _ in range(8)))
    return [rollouts[index] for index in sorted(rollouts)]


def make_rollouts(
    gguf: Path, shares: dict[str, float], count: int, seed: int, path: Path
) -> list[Rollout]:
    """The same, kept in `path` (JSON lines) so that a repeated run need not sample again."""
    if not path.exists():
        rollouts = asyncio.run(sample_rollouts(gguf, shares, count, seed))
        write_atomically(path, "".join(json.dumps(vars(r)) + "\n" for r in rollouts))
    records = map(json.loads, path.read_text().splitlines())
    return [Rollout(r["question"], tuple(r["steps"]), tuple(r["labels"])) for r in records]
