"""The letter of a choice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trim.evaluation.grading.latex import clean

LETTER = re.compile(r"(?:\\text\{)?\s*[\[(]?\s*([A-Za-z])(?:[\s)\].:}]|$)")
r"""A letter that stands by itself at the start: `C`, `(C)`, `C. because`, `\text{C}`."""


@dataclass(frozen=True)
class Letter:
    r"""For multiple choice, as GPQA: `C`, `(C)` and `\textbf{(C) 5}` are the same choice."""

    def grade(self, answer: str | None, reference: str) -> bool:
        chosen = None if answer is None else read_letter(answer)
        return chosen is not None and chosen == read_letter(reference)


def read_letter(text: str) -> str | None:
    """The capital letter of the choice that a text begins with; None where it has none."""
    found = LETTER.match(clean(text))
    return found.group(1).upper() if found else None
