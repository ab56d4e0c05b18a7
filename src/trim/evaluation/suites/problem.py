"""A generated problem, and the split that keeps evaluation out of training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

EVALUATION_SHARE = 8
"""One question in this many belongs to evaluation; training never draws it."""


@dataclass(frozen=True)
class Problem:
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
