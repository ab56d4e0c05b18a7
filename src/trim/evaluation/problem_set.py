"""The problems of an evaluation, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trim.fingerprints import fingerprint
from trim.models.prompt import Prompt
from trim.policies.oracle import StepCheck

ANSWER_OF_STRONG = ""
"""In place of an answer that nobody knows: in a bank, that of the strong model alone is taken."""


class Gradable(Protocol):
    """What an evaluation needs to know of a problem."""

    @property
    def id(self) -> str: ...

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> str:
        """The right one, as its source writes it."""
        ...

    @property
    def grader(self) -> str:
        """Name of who compares answers with it (`trim.grading.grader`)."""
        ...


@dataclass(frozen=True)
class ProblemSet:
    """Problems, and what is known about them.

    Attributes:
        name: of the suite, the benchmark or the file.
        problems: in the order in which they are solved; ids differ.
        is_right: whether a step is right; None where there are no reference steps.
        described: what says which problems these are, for `run.json`.
        prompt: what models that have no prompt of their own read around a question.
    """

    name: str
    problems: Sequence[Gradable]
    is_right: StepCheck | None = None
    described: Mapping[str, Any] = field(default_factory=dict)
    prompt: Prompt = field(default_factory=Prompt)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the bare questions (`trim.fingerprints`), in the order of `problems`."""
        return tuple(fingerprint(problem.question) for problem in self.problems)
