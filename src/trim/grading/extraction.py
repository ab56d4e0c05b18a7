r"""Where the answer of a solution stands.

The whole solution is looked through: the last complete `\boxed{}` first, then what the benchmark
takes in its place, in order. An answer in a box is always preferred, however early it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trim.steps import boxed_answer

PHRASE = re.compile(r"answer is:?\s*(.+?)(?=\.\s|\.?$)", re.MULTILINE | re.IGNORECASE)
LETTER = re.compile(r"\(([A-D])\)|\b([A-D])\b")
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*|-?\.\d+")
WRAPPING = " *$:`"

Find = Callable[[str], str | None]


def after_phrase(text: str) -> str | None:
    """What the last "answer is" names, to the end of its sentence or line."""
    found = PHRASE.findall(text)
    return (found[-1].strip(WRAPPING).removeprefix(r"\boxed{") or None) if found else None


def last_letter(text: str) -> str | None:
    """The last choice, A to D."""
    found = LETTER.findall(text)
    return next(filter(None, found[-1])) if found else None


def last_number(text: str) -> str | None:
    """The last number, without commas between its digits."""
    found = NUMBER.findall(text)
    return found[-1].replace(",", "").rstrip(".") if found else None


def open_box(text: str) -> str | None:
    """What stands in the last box, to the end of the text where it is not closed."""
    _, marked, rest = text.rpartition("boxed{")
    return rest.strip() or None if marked else None


IN_PLACE_OF_A_BOX: dict[str, tuple[Find, ...]] = {
    "exact": (),
    "letter": (after_phrase, last_letter),
}
"""By the name of a grader; a text that is compared letter by letter has to stand in a box."""
USUAL: tuple[Find, ...] = (after_phrase, last_number)


def find_answer(text: str, grader: str, takes_open_box: bool = False) -> str | None:
    """The answer of a whole solution; None where there is none.

    Args:
        grader: name of who compares it (`trim.grading.grader`).
        takes_open_box: whether a box that is not closed counts (`trim.configuration.protocol`).
    """
    answer = boxed_answer(text)
    if answer is None and takes_open_box:
        answer = open_box(text)
    fallbacks = IN_PLACE_OF_A_BOX.get(grader, USUAL)
    found = (find(text) for find in fallbacks)
    return answer if answer is not None else next((each for each in found if each), None)
