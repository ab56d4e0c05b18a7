"""Amounts, as the answers of word problems: GSM8K."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from trim.evaluation.grading.latex import clean
from trim.evaluation.grading.number import Number, read_number
from trim.evaluation.grading.parts import split_name

WRITTEN = re.compile(r"-?\s*\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Amount:
    """The same number, whatever words, units and currency are around it.

    `$1,450.00`, `1450 dollars` and `she pays \\text{1450}` are the same; a text with several
    numbers is none of them. A reference may be a whole solution that ends in `#### 1,450`.
    """

    def grade(self, answer: str | None, reference: str) -> bool:
        mine = None if answer is None else read_amount(answer)
        right = read_amount(reference.rpartition("####")[2])
        return bool(mine and right and mine.equals(right, Fraction(0), Fraction(0)))


def read_amount(text: str) -> Number | None:
    """The number that a text is, or the only one that it holds."""
    cleaned = clean(text)
    number = read_number(split_name(cleaned)[1])
    found = WRITTEN.findall(cleaned)
    if number is None and len(found) == 1:
        number = read_number(found[0].rstrip(","))
    return number
