"""A problem of a data set: it has an answer, and no reference steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One question with its answer.

    Attributes:
        id: unique within its data set.
        question: the bare question.
        answer: the right answer, as the data set writes it.
        grader: name of the grader (`trim.evaluation.grading.registry`).
    """

    id: str
    question: str
    answer: str
    grader: str
