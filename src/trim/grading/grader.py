"""Who says whether an answer is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from trim.errors import InvalidInput
from trim.grading.latex import read_letter
from trim.grading.mathematics import Mathematics
from trim.grading.number import Amount, Integer


class Grader(Protocol):
    """Compares the text of an answer with that of the reference; knows nothing else."""

    def grade(self, answer: str | None, reference: str) -> bool:
        """Whether the answer is right.

        Args:
            answer: what stands in the solution's last `\\boxed{}`; None without one is wrong.
            reference: the right answer, as the data set writes it.
        """
        ...


@dataclass(frozen=True)
class Exact:
    """For answers that can be written in one way only."""

    def grade(self, answer: str | None, reference: str) -> bool:
        return answer == reference


@dataclass(frozen=True)
class Letter:
    r"""For multiple choice, as GPQA: `C`, `(C)` and `\textbf{(C) 5}` are the same choice."""

    def grade(self, answer: str | None, reference: str) -> bool:
        chosen = None if answer is None else read_letter(answer)
        return chosen is not None and chosen == read_letter(reference)


RELATIVE = Fraction(1, 10**4)
"""By which measured quantities may differ: as in Qwen2.5-Math's evaluation."""

GRADERS: dict[str, Callable[[], Grader]] = {
    "exact": Exact,
    "letter": Letter,
    "integer": Integer,
    "amount": Amount,
    "math": Mathematics,
    "quantity": lambda: Mathematics(RELATIVE, letters=True),
}
WITHIN = "within"
"""`within:0.1`: as `math`, and numbers may differ by so much."""


def find_grader(name: str) -> Grader:
    """The grader of a name; `within:0.1` is `math` with numbers that may differ by 0.1.

    Raises:
        InvalidInput: there is none of that name.
    """
    family, _, setting = name.partition(":")
    if family == WITHIN:
        try:
            return Mathematics(absolute=abs(Fraction(setting)))
        except (ValueError, ZeroDivisionError):
            raise InvalidInput(
                f"grader {name!r}: {setting!r} is no number, as in within:0.1"
            ) from None
    if name not in GRADERS:
        raise InvalidInput(f"unknown grader {name!r}; known: {', '.join(GRADERS)}, {WITHIN}:X")
    return GRADERS[name]()
