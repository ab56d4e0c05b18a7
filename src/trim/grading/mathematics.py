"""Answers in mathematics: numbers, words, lists, tuples, intervals, formulas."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

from trim.grading.latex import (
    clean,
    compact,
    open_brackets,
    read_letter,
    split_list,
    split_name,
    without_unit,
)
from trim.grading.number import Number, read_number

MISREAD = (
    (re.compile(r"\\gamma(?![A-Za-z])"), r"\\kappa_9 "),
    (re.compile(r"(?<![A-Za-z])E(?=_)"), r"\\Xi "),
)
"""Variables that math-verify reads as constants or cannot read, and their substitutes."""


def same_formula(answer: str, reference: str) -> bool:
    """Whether two formulas in LaTeX are equal, as math-verify parses and compares them.

    Has no time limit and may never return: math-verify's own limit needs signals, which only the
    main thread receives. `trim.grading.workers` enforces a limit from outside.
    """
    from math_verify import verify

    return bool(verify(parse(reference), parse(answer), timeout_seconds=None))


@lru_cache(maxsize=1000)
def parse(formula: str) -> list[Any]:
    import math_verify
    from latex2sympy2_extended.math_normalization import NormalizationConfig

    # It warns on every call that its time limit is off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # Its unit removal ignores context: `6m` would become 6.
    normal = NormalizationConfig(units=False, malformed_operators=True, nits=True)
    extraction = math_verify.LatexExtractionConfig(normalization_config=normal)
    latex = formula.replace("⦃", r"\{").replace("⦄", r"\}")
    for pattern, letter in MISREAD:
        latex = pattern.sub(letter, latex)
    found = math_verify.parse(f"${latex}$", [extraction], parsing_timeout=None)
    # The last entry is the text itself, its fallback for unreadable formulas; texts have been
    # compared before.
    return [entry for entry in found if not isinstance(entry, str)]


CHOICE = re.compile(r"\\text\{\s*\(?[A-Z]\)?\s*\}|\([A-Z]\)")
WORD = re.compile(r"\\text\{[^{}]*[A-Za-z][^{}]*\}|[A-Za-z]{4,}(?: [A-Za-z]+)*")
BASED = re.compile(r"([0-9A-Z]+)_\{?(?:\\text\{)?\s*([0-9a-z]+)\s*\}*")
"""Digits with their base as a subscript."""

VARIABLE = re.compile(r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_\w+)?")

LONGEST = 2000
"""Characters; a longer answer is right only if its text equals the reference."""

MOST_PARTS = 60
"""Parts of a list; a longer list is right only if its text equals the reference."""

PRECISION = Fraction(1, 10**6)
"""Relative tolerance for rounded numbers, math-verify's."""


@dataclass(frozen=True)
class Mathematics:
    """Compares answers part by part; math-verify compares parts that are no number and no word.

    Several answers may come in any order, the entries of a tuple only in its own. Units, degrees
    and the names of values (`x = `) are ignored if the other side has none.

    Attributes:
        relative: tolerance relative to the reference, if one of the two numbers is rounded.
        absolute: tolerance for all numbers.
        letters: read single letters after a number as units, in answers.
        formulas: compares an answer with a reference, both formulas.
    """

    relative: Fraction = PRECISION
    absolute: Fraction = Fraction(0)
    letters: bool = False
    formulas: Callable[[str, str], bool] = field(default=same_formula, repr=False)

    def grade(self, answer: str | None, reference: str) -> bool:
        return bool(answer and answer.strip()) and self.same(clean(answer or ""), clean(reference))

    def same(self, answer: str, reference: str) -> bool:
        """Whether two answers are the same; both are normalised (`clean`)."""
        if compact(answer) == compact(reference):
            return True
        if max(len(answer), len(reference)) > LONGEST:
            return False
        if CHOICE.fullmatch(reference):
            return read_letter(answer) == read_letter(reference)
        if WORD.fullmatch(reference):
            return word(answer) == word(reference)
        right = number_of(reference)
        if right and (mine := number_of(answer, self.letters)):
            names = {split_name(answer)[0], split_name(reference)[0]}
            if len(names) > 1 and all(map(VARIABLE.fullmatch, names)):
                return False
            return mine.equals(right, self.relative, self.absolute)
        if (digits := BASED.fullmatch(answer)) and (based := BASED.fullmatch(reference)):
            return digits.groups() == based.groups()
        return self.same_parts(split_list(answer), split_list(reference))

    def same_parts(self, answers: Sequence[str], references: Sequence[str]) -> bool:
        """Compare two lists; either may be a single part in brackets."""
        if not answers or not references or max(len(answers), len(references)) > MOST_PARTS:
            return False
        if len(answers) == len(references) == 1:
            return self.same_one(answers[0], references[0])
        if len(references) == 1:
            right = open_brackets(split_name(references[0])[1])
            if right is None:
                return False
            parts = split_list(right.content)
            return self.any_order(answers, parts) if right.is_set else self.in_order(answers, parts)
        mine = open_brackets(split_name(answers[0])[1]) if len(answers) == 1 else None
        return self.any_order(split_list(mine.content) if mine else answers, references)

    def same_one(self, answer: str, reference: str) -> bool:
        (my_name, my_value), (name, value) = split_name(answer), split_name(reference)
        if my_name != name and my_name and name:
            return self.formulas(answer, reference)
        if my_name or name:
            return self.same(my_value, value) or self.formulas(answer, reference)
        mine, right = open_brackets(answer), open_brackets(reference)
        if mine and right:
            answers, references = split_list(mine.content), split_list(right.content)
            if mine.is_set or right.is_set:
                return self.any_order(answers, references)
            same_kind = (mine.opening, mine.closing) == (right.opening, right.closing)
            return same_kind and self.in_order(answers, references)
        if mine and mine.is_set:
            return self.same(mine.content, reference)
        if right and right.is_set:
            return self.same(answer, right.content)
        return self.formulas(answer, reference)

    def in_order(self, answers: Sequence[str], references: Sequence[str]) -> bool:
        return len(answers) == len(references) and all(map(self.same, answers, references))

    def any_order(self, answers: Sequence[str], references: Sequence[str]) -> bool:
        """Whether answers and references match one to one."""
        if len(answers) != len(references):
            return False
        left = list(answers)
        missing = []
        # Equal texts first: comparing formulas is slow.
        for reference in references:
            alike = [answer for answer in left if compact(answer) == compact(reference)]
            if alike:
                left.remove(alike[0])
            else:
                missing.append(reference)
        for reference in missing:
            found = next((answer for answer in left if self.same(answer, reference)), None)
            if found is None:
                return False
            left.remove(found)
        return True


def number_of(text: str, letters: bool = False) -> Number | None:
    """The number that a text stands for, without name and unit (`without_unit`)."""
    value = split_name(text)[1]
    return read_number(text) or read_number(value) or read_number(without_unit(value, letters))


def word(text: str) -> str:
    """The letters and digits of a text, without LaTeX commands, in lower case."""
    return re.sub(r"[\W_]+", " ", re.sub(r"\\text\b", "", text)).strip().casefold()
