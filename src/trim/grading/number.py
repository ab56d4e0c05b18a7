"""Numbers in the notations that answers use, and graders for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from trim.grading.latex import clean, split_name, without_unit

PLAIN = r"(?:\d+(?:\.\d*)?|\.\d+)"
SIGNED = rf"[+-]?{PLAIN}"
EXPONENT = r"\{?([+-]?\d{1,3})\}?"
SCIENTIFIC = re.compile(
    rf"(?:({SIGNED})(?:\\times|\\cdot|\*|x)|([+-]?))10\^{EXPONENT}|({SIGNED})[eE]([+-]?\d{{1,3}})"
)
FRACTION = re.compile(rf"([+-]?)(?:\\frac\{{({SIGNED})\}}\{{({SIGNED})\}}|({PLAIN})/({PLAIN}))")
MIXED = re.compile(r"([+-]?)(\d+) ?(?:\\frac\{(\d+)\}\{(\d+)\}|(?<= )(\d+)/(\d+))")
THOUSANDS = re.compile(r"([+-]?)([1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)")
SPACES = re.compile(r"\s+(?!\d)|(?<![\d,])\s+")
"""Spaces that do not separate two numbers: `5, 100` is a list."""

LONGEST = 300
"""Characters; a longer text is not read as a number."""


@dataclass(frozen=True)
class Number:
    """A number as it was written.

    Attributes:
        value: its exact value.
        rounded: whether it has decimals or a power of ten, and may be an approximation.
        percent: whether a percent sign follows; `value` is the number before it.
    """

    value: Fraction
    rounded: bool = False
    percent: bool = False

    def equals(self, reference: Number, relative: Fraction, absolute: Fraction) -> bool:
        """Whether both are the same number.

        Exact numbers must be equal; if one is rounded, they may differ by `relative` times the
        reference. A difference up to `absolute` is always allowed. A percentage equals its value
        and the number without the sign: `8 %`, `0.08` and `8`.
        """
        if self.percent != reference.percent:
            with_sign, other = (self, reference) if self.percent else (reference, self)
            share = Number(with_sign.value / 100, rounded=with_sign.rounded)
            bare = Number(with_sign.value, rounded=with_sign.rounded)
            return any(
                Number(other.value, other.rounded).equals(number, relative, absolute)
                for number in (share, bare)
            )
        margin = absolute
        if self.rounded or reference.rounded:
            margin = max(margin, relative * abs(reference.value))
        return abs(self.value - reference.value) <= margin


def read_number(text: str) -> Number | None:
    """Read a whole text, normalised by `trim.grading.latex.clean`, as a number.

    Integers with or without thousands separators, decimals, `4.5e33`, `4.5 \\times 10^{33}`,
    fractions, mixed numbers and percentages. None for anything else.
    """
    if len(text) > LONGEST:
        return None
    text = text.strip()
    percent = text.endswith("%")
    text = text.removesuffix("%").strip()
    found = read_mixed(text) or read_compact(SPACES.sub("", text))
    return Number(found.value, found.rounded, percent) if found else None


def read_mixed(text: str) -> Number | None:
    if not (match := MIXED.fullmatch(text)):
        return None
    sign, whole, *parts = match.groups()
    numerator, denominator = (int(part) for part in parts if part is not None)
    if not denominator:
        return None
    value = int(whole) + Fraction(numerator, denominator)
    return Number(-value if sign == "-" else value)


def read_compact(text: str) -> Number | None:
    if match := THOUSANDS.fullmatch(text):
        text = match.group(0).replace(",", "")
    if re.fullmatch(SIGNED, text):
        value = Fraction(text.rstrip("."))
        return Number(value, rounded=value.denominator != 1)
    if match := SCIENTIFIC.fullmatch(text):
        mantissa, sign, power, other_mantissa, other_power = match.groups()
        if power is None:
            mantissa, power = other_mantissa, other_power
        factor = Fraction(mantissa.rstrip(".")) if mantissa else Fraction(f"{sign}1")
        return Number(factor * Fraction(10) ** int(power), rounded=bool(mantissa))
    if match := FRACTION.fullmatch(text):
        sign, *parts = match.groups()
        numerator, denominator = (Fraction(part.rstrip(".")) for part in parts if part is not None)
        if not denominator:
            return None
        value = numerator / denominator
        return Number(-value if sign == "-" else value)
    return None


@dataclass(frozen=True)
class Integer:
    """Equality of whole numbers: `073`, `73` and `n = 73` are the same.

    A reference may accept several, as AIME's `080 or 081 (both were accepted)`.
    """

    def grade(self, answer: str | None, reference: str) -> bool:
        value = None if answer is None else read_integer(answer)
        accepted = {read_integer(text) for text in re.split(r"\bor\b", reference)}
        return value is not None and value in accepted


def read_integer(text: str) -> int | None:
    """Read a text as a whole number, ignoring a remark in brackets after it."""
    value = split_name(re.sub(r"(?<=\d)\s*\([a-z ]+\)\s*$", "", clean(text)))[1]
    if len(value) > LONGEST:
        return None
    number = read_number(value) or read_number(without_unit(value))
    return int(number.value) if number and number.value.denominator == 1 else None


WRITTEN = re.compile(r"-?\s*\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Amount:
    """Equality of numbers, ignoring the words, units and currency around them.

    `$1,450.00`, `1450 dollars` and `she pays \\text{1450}` are the same; a text with several
    numbers is wrong. A reference may be a whole solution that ends in `#### 1,450`.
    """

    def grade(self, answer: str | None, reference: str) -> bool:
        mine = None if answer is None else read_amount(answer)
        right = read_amount(reference.rpartition("####")[2])
        return bool(mine and right and mine.equals(right, Fraction(0), Fraction(0)))


def read_amount(text: str) -> Number | None:
    """The number that a text stands for, or the only number in it."""
    cleaned = clean(text)
    value = split_name(cleaned)[1]
    number = read_number(value)
    if number is None and len(value) <= LONGEST:
        # The exponent of a unit, as in `24 m^2`, is no number.
        number = read_number(without_unit(value, letters=True))
    found = WRITTEN.findall(cleaned)
    if number is None and len(found) == 1:
        number = read_number(found[0].rstrip(","))
    return number
