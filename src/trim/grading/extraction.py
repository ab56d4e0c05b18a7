r"""Finding the answer of a solution.

The whole solution is searched: for the last complete `\boxed{}` first, then with the extractors
of the grader, in order. An answer in a box is always preferred, however early it comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trim.steps import boxed_answer

PHRASE = re.compile(r"answer is:?\s*(.+?)(?=\.\s|\.?$)", re.MULTILINE | re.IGNORECASE)
LETTER = re.compile(r"\(([A-D])\)|\b([A-D])\b")
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*|-?\.\d+")
WRAPPING = " *$:`"

Extractor = Callable[[str], str | None]


def after_phrase(text: str) -> str | None:
    """The text after the last "answer is", to the end of its sentence or line."""
    found = PHRASE.findall(text)
    return (found[-1].strip(WRAPPING).removeprefix(r"\boxed{") or None) if found else None


def last_letter(text: str) -> str | None:
    """The last choice letter, A to D."""
    found = LETTER.findall(text)
    return next(filter(None, found[-1])) if found else None


def last_number(text: str) -> str | None:
    """The last number, without thousands separators."""
    found = NUMBER.findall(text)
    return found[-1].replace(",", "").rstrip(".") if found else None


def open_box(text: str) -> str | None:
    r"""The text after the last `\boxed{`, to the end: for a box that is not closed."""
    _, marked, rest = text.rpartition("boxed{")
    return rest.strip() or None if marked else None


FALLBACKS: dict[str, tuple[Extractor, ...]] = {
    "exact": (),
    "letter": (after_phrase, last_letter),
}
"""Extractors for solutions without a box, by grader; `exact` needs a box."""
DEFAULT_FALLBACKS: tuple[Extractor, ...] = (after_phrase, last_number)


def find_answer(text: str, grader: str, takes_open_box: bool = False) -> str | None:
    r"""The answer of a whole solution; None if there is none.

    Args:
        grader: name of the answer's grader (`trim.grading.grader`).
        takes_open_box: accept a `\boxed{` that is not closed (`trim.configuration.protocol`).
    """
    answer = boxed_answer(text)
    if answer is None and takes_open_box:
        answer = open_box(text)
    if answer is not None:
        return answer
    found = (extract(text) for extract in FALLBACKS.get(grader, DEFAULT_FALLBACKS))
    return next(filter(None, found), None)
