"""Graders: whether an answer is right, by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from trim.errors import InvalidInput
from trim.grading.latex import read_letter
from trim.grading.mathematics import Mathematics
from trim.grading.number import Amount, Integer


class Grader(Protocol):
    """Compares the text of an answer with the text of the reference."""

    def grade(self, answer: str | None, reference: str) -> bool:
        """Whether the answer is right.

        Args:
            answer: content of the solution's last `\\boxed{}`; None (no answer) is wrong.
            reference: the right answer, as the data set writes it.
        """
        ...


@dataclass(frozen=True)
class Exact:
    """String equality, for answers with a single spelling."""

    def grade(self, answer: str | None, reference: str) -> bool:
        return answer == reference


@dataclass(frozen=True)
class Letter:
    r"""Multiple choice, as in GPQA: `C`, `(C)` and `\textbf{(C) 5}` are the same choice."""

    def grade(self, answer: str | None, reference: str) -> bool:
        chosen = None if answer is None else read_letter(answer)
        return chosen is not None and chosen == read_letter(reference)


RELATIVE = Fraction(1, 10**4)
"""Relative tolerance for measured quantities, as in Qwen2.5-Math's evaluation."""

GRADERS: dict[str, Callable[[], Grader]] = {
    "exact": Exact,
    "letter": Letter,
    "integer": Integer,
    "amount": Amount,
    "math": Mathematics,
    "quantity": lambda: Mathematics(RELATIVE, letters=True),
}
HUGE = re.compile(r"(?i:e)[+-]?\d{4}|.{40}")
"""Settings that stand for numbers of thousands of digits."""
WITHIN = "within"
"""`within:0.1`: as `math`, with an absolute tolerance of 0.1."""


def find_grader(name: str) -> Grader:
    """The grader with this name; `within:0.1` is `math` with an absolute tolerance of 0.1.

    Raises:
        InvalidInput: an unknown name.
    """
    family, _, setting = name.partition(":")
    if family == WITHIN:
        try:
            if HUGE.search(setting):
                raise ValueError
            return Mathematics(absolute=abs(Fraction(setting)))
        except (ValueError, ZeroDivisionError):
            raise InvalidInput(
                f"grader {name!r}: {setting!r} is not a number; write it as in within:0.1"
            ) from None
    if name not in GRADERS:
        raise InvalidInput(f"unknown grader {name!r}; known: {', '.join(GRADERS)}, {WITHIN}:X")
    return GRADERS[name]()
