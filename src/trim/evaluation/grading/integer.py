"""Whole numbers, as AIME asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trim.evaluation.grading.latex import clean, without_unit
from trim.evaluation.grading.number import read_number
from trim.evaluation.grading.parts import split_name


@dataclass(frozen=True)
class Integer:
    """The same whole number: `073`, `73` and `n = 73` are.

    A reference may offer several, as AIME's `080 or 081 (both were accepted)`.
    """

    def grade(self, answer: str | None, reference: str) -> bool:
        value = None if answer is None else read_integer(answer)
        accepted = {read_integer(text) for text in re.split(r"\bor\b", reference)}
        return value is not None and value in accepted


def read_integer(text: str) -> int | None:
    """The whole number that a text is; what is in brackets behind it does not count."""
    value = split_name(re.sub(r"(?<=\d)\s*\([a-z ]+\)\s*$", "", clean(text)))[1]
    number = read_number(value) or read_number(without_unit(value))
    return int(number.value) if number and number.value.denominator == 1 else None
