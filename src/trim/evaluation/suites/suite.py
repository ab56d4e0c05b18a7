"""Suites: problems generated from a seed, with an exact check of every step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Protocol

EVALUATION_SHARE = 8
"""One question in this many is for evaluation, never for training."""


@dataclass(frozen=True)
class SuiteProblem:
    """A question with its exact reference solution.

    Attributes:
        id: `SUITE-SEED-INDEX`, unique within a suite.
        suite: name of its suite.
        question: the prompt, without instruction.
        steps: reference steps, in order; joined by blank lines they are the solution.
        answer: content of the last step's `\\boxed{}`.
        operations: one object per step, which the suite's checker reads.
        grader: answers have a single spelling.
    """

    id: str
    suite: str
    question: str
    steps: tuple[str, ...]
    answer: str
    operations: tuple[Any, ...] = ()

    grader: ClassVar[str] = "exact"


def is_for_evaluation(question: str) -> bool:
    """Whether a question is for evaluation, by a hash of its text.

    Evaluation draws only these questions and training only the others: the two are disjoint
    for all seeds.
    """
    digest = hashlib.sha256(question.encode()).digest()
    return digest[0] % EVALUATION_SHARE == 0


@dataclass(frozen=True)
class NextStep:
    """The exact text of a step, and whether its operation is possible (`Operation.is_possible`)."""

    text: str
    possible: bool = True


class Suite(Protocol):
    """A family of generated problems."""

    @property
    def name(self) -> str: ...

    def draw(self, random: Random, identifier: str) -> SuiteProblem:
        """Draw one problem."""
        ...

    def next_step(self, problem: SuiteProblem, earlier: Sequence[str]) -> NextStep | None:
        """The next operation of the problem, applied to the values in the `earlier` steps.

        The values are those that were written, even if a step is wrong. None if the solution is
        complete or cannot be read.
        """
        ...


def right_step(suite: Suite, problem: SuiteProblem, earlier: Sequence[str]) -> str | None:
    """The right step after the `earlier` ones, as they were written.

    None if there is none, or its operation is not possible on their values, as a division with a
    remainder after a wrong value. Every step is wrong then.
    """
    found = suite.next_step(problem, earlier)
    return found.text if found and found.possible else None


def generate(suite: Suite, count: int, seed: int) -> Iterator[SuiteProblem]:
    """The first `count` evaluation problems of a seed, with distinct questions."""
    seen: set[str] = set()
    for index in range(count):
        random = Random(f"{suite.name}/{seed}/{index}")
        while True:
            problem = suite.draw(random, f"{suite.name}-{seed}-{index}")
            if is_for_evaluation(problem.question) and problem.question not in seen:
                break
        seen.add(problem.question)
        yield problem


def draw_for_training(suite: Suite, random: Random) -> SuiteProblem:
    """A problem that is never drawn for evaluation."""
    while True:
        problem = suite.draw(random, f"{suite.name}-training")
        if not is_for_evaluation(problem.question):
            return problem


def is_step_right(suite: Suite, problem: SuiteProblem, earlier: Sequence[str], step: str) -> bool:
    """Whether `step` is exactly the right one (`right_step`)."""
    return step.strip() == right_step(suite, problem, earlier)
