"""The problems of an evaluation, from any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trim.fingerprints import fingerprint
from trim.models.prompt import Prompt
from trim.policies.oracle import RightStep, StepCheck

ANSWER_OF_STRONG = ""
"""Marks an unknown answer: a bank then uses the answer of the strong model alone."""


class Gradable(Protocol):
    """A problem that an evaluation can solve and grade."""

    @property
    def id(self) -> str: ...

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> str:
        """The right answer, as its source writes it."""
        ...

    @property
    def grader(self) -> str:
        """Name of the grader (`trim.grading.grader`)."""
        ...


@dataclass(frozen=True)
class ProblemSet:
    """Problems with their metadata.

    Attributes:
        name: of the suite, the benchmark or the file.
        problems: in the order of solving, with unique ids.
        is_right: whether a step is right; None without reference steps.
        right_step: the right next step; None where no reference has its exact text.
        metadata: identifies the problems, in `run.json`.
        prompt: for models without a prompt of their own.
    """

    name: str
    problems: Sequence[Gradable]
    is_right: StepCheck | None = None
    right_step: RightStep | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt: Prompt = field(default_factory=Prompt)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the bare questions (`trim.fingerprints`), in the order of `problems`."""
        return tuple(fingerprint(problem.question) for problem in self.problems)
