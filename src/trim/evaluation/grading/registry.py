"""Graders by name."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from trim.errors import InvalidInput
from trim.evaluation.grading.amount import Amount
from trim.evaluation.grading.exact import Exact
from trim.evaluation.grading.grader import Grader
from trim.evaluation.grading.integer import Integer
from trim.evaluation.grading.letter import Letter
from trim.evaluation.grading.mathematics import Mathematics

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
