"""A suite: problems from a seed, and an exact check of every step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Protocol

EVALUATION_SHARE = 8
"""One question in this many belongs to evaluation; training never draws it."""


@dataclass(frozen=True)
class SuiteProblem:
    """One question with its exact reference solution.

    Attributes:
        id: `SUITE-SEED-INDEX`, unique within a suite.
        suite: name of the suite that made it.
        question: the text that a model is given.
        steps: reference steps, in order; joined by blank lines they are the solution.
        answer: what stands in the last step's `\\boxed{}`.
        operations: the suite's own description of each step, for its checker.
        grader: answers of suites can be written in one way only.
    """

    id: str
    suite: str
    question: str
    steps: tuple[str, ...]
    answer: str
    operations: tuple[Any, ...] = ()

    grader: ClassVar[str] = "exact"


def is_for_evaluation(question: str) -> bool:
    """Whether a question belongs to evaluation, decided by its text alone.

    Evaluation draws only questions for which this is true and training only those
    for which it is false, so the two cannot overlap whatever their seeds are.
    """
    digest = hashlib.sha256(question.encode()).digest()
    return digest[0] % EVALUATION_SHARE == 0


@dataclass(frozen=True)
class NextStep:
    """A step's exact text, and whether its operation is possible (`Operation.is_possible`)."""

    text: str
    possible: bool = True


class Suite(Protocol):
    """What a family of generated problems has to offer."""

    @property
    def name(self) -> str: ...

    def draw(self, random: Random, identifier: str) -> SuiteProblem:
        """Draw one problem."""
        ...

    def next_step(self, problem: SuiteProblem, earlier: Sequence[str]) -> NextStep | None:
        """The step that carries out the problem's next operation on the values that the
        `earlier` steps, as they were written, hold, even if one of them got those wrong.

        None where there is none: the trace is at its end, or cannot be read.
        """
        ...


def right_step(suite: Suite, problem: SuiteProblem, earlier: Sequence[str]) -> str | None:
    """The right step after the `earlier` ones as they were written.

    None where there is none, also because the operation is not possible on their values:
    a wrong value has made a division uneven, say. Whatever is written then is wrong.
    """
    found = suite.next_step(problem, earlier)
    return found.text if found and found.possible else None


def generate(suite: Suite, count: int, seed: int) -> Iterator[SuiteProblem]:
    """The first `count` evaluation problems of a seed, without a question twice."""
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
    """A problem that no evaluation seed can produce."""
    while True:
        problem = suite.draw(random, f"{suite.name}-training")
        if not is_for_evaluation(problem.question):
            return problem


def is_step_right(suite: Suite, problem: SuiteProblem, earlier: Sequence[str], step: str) -> bool:
    """Whether `step` carries out the next operation exactly (see `right_step`)."""
    return step.strip() == right_step(suite, problem, earlier)
