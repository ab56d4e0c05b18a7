"""Normal form of LaTeX: one spelling for many that mean the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trim.steps import boxed_answer

OPENING, CLOSING = "([{⦃", ")]}⦄"
BETWEEN = re.compile(
    r"\s*,?\s*(?:\\text\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*|\s*;\s*"
)
NAME = r"(?:[A-Za-z](?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?|\\[A-Za-z]+|\\text\{[^{}]*\})"
ASSIGNED = re.compile(
    rf"\s*({NAME}(?:\s*\([^()=]*\))?|\\angle\s*[A-Z][A-Z0-9_{{}} ]*)\s*(?:=|\\in(?![A-Za-z]))\s*"
)


@dataclass(frozen=True)
class Enclosed:
    """A text that is enclosed in one pair of brackets."""

    opening: str
    content: str
    closing: str

    @property
    def is_set(self) -> bool:
        return self.opening == "⦃"


def split_list(text: str) -> list[str]:
    r"""Split a list at commas outside brackets, `;`, `and` and `or`; `\pm` gives two parts."""
    text = BETWEEN.sub(",", text)
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [either for part in parts if part.strip() for either in signs(part.strip())]


def signs(part: str) -> tuple[str, ...]:
    r"""Expand `1 \pm a` to `1 + a` and `1 - a`."""
    if part.count(r"\pm") != 1 or part.startswith("⦃"):
        return (part,)
    return part.replace(r"\pm", "+"), part.replace(r"\pm", "-")


def open_brackets(text: str) -> Enclosed | None:
    """Remove the brackets around a whole text, set braces included; None if there are none."""
    if not text or text[0] not in "([⦃" or text[-1] not in ")]⦄":
        return None
    depth = 0
    for position, character in enumerate(text):
        depth += (character in OPENING) - (character in CLOSING)
        if depth == 0 and position < len(text) - 1:
            return None
    return Enclosed(text[0], text[1:-1].strip(), text[-1]) if depth == 0 else None


def split_name(text: str) -> tuple[str, str]:
    r"""Split `x=5`, `f(x)=2x` or `x \in [0, 1]` into name and value; the name may be empty."""
    found = ASSIGNED.match(text)
    if not found or "=" in text[found.end() :]:
        return "", text
    return re.sub(r"\s+|\\text|[{}]", "", found.group(1)), text[found.end() :]


SYMBOLS = {
    "−": "-",
    "–": "-",
    "π": r"\pi ",
    "∞": r"\infty ",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "≤": r"\leq ",
    "≥": r"\geq ",
    "±": r"\pm ",
    "∪": r"\cup ",
    "°": "",
    "\u00a0": " ",
    "\u2009": " ",
    "{,}": ",",
    "\\%": "%",
    "\\$": "",
    "$": "",
    "€": "",
    "£": "",
    "\\{": "⦃",
    "\\}": "⦄",
}
"""Replacements. Currencies and degrees are removed: no reference needs them. Set braces become
one character each, to distinguish them from LaTeX's grouping braces."""

RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # An explanation after a formula: `ax+b, where a is positive`.
        (r",?\s*(?:\\text\{)?\s*\bwhere\b.*", ""),
        (r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|displaystyle|textstyle)(?![A-Za-z])\s*", ""),
        (r"(?<!\\)\\[!,;: ]\s*|\\q?quad(?![A-Za-z])|~", " "),
        (r"'+", r"^\\prime "),
        (r"\^\s*\{\s*\\prime\s*\}", r"^\\prime "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:textbf|textit|textrm|text|mathrm|mathbf|mathit|mbox|hbox|rm)\s*\{", r"\\text{"),
        (r"\^\s*(?:\{\s*\\(?:circ|degree)\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])", ""),
        (r"\\(ge|le)(?:q|qslant)?(?![A-Za-z])", r"\\\1q"),
        (r"\\operatorname\s*\{([A-Za-z]+)\}", r"\\\1 "),
        (r"\\a(sin|cos|tan)(?![A-Za-z])", r"\\arc\1"),
        # math-verify reads `9i` as a variable, and `9 i` as a product.
        (r"(?<=\d)i(?![A-Za-z])", " i"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"\\text\{\s*([-+.,\d\s/]*)\s*\}", r"\1"),
        (r"\bnp\.(?=[a-z])", r"\\"),
        (r"([_^])\s*\{\s*([A-Za-z0-9])\s*\}", r"\1\2"),
    )
]
THIN = re.compile(r",\s*\\!\s*")
r"""A comma before a thin space separates thousands: `10,\!080`."""
UNIT = re.compile(
    r"\s*(?:\\text\{[^{}]*\}|\\(?:AA|mu|Omega)(?![A-Za-z])|[/*]|\\cdot(?![A-Za-z])|\s)"
    r"(?:\s*\^\s*(?:\{\s*-?\d+\s*\}|-?\d))?\s*$"
)
TWO_LETTERS = r"cm|mm|km|nm|pm|kg|mg|ml|mL|in|ft|mi|hr|eV|Hz|kJ|ms"
WORDS = re.compile(
    rf"(?<=[\d}}])\s*+(?:[A-Za-z]{{3,}}+|(?:{TWO_LETTERS})(?![A-Za-z]))"
    rf"(?:(?:\s*/\s*|\s+)(?:[A-Za-z]{{3,}}+|(?:{TWO_LETTERS}|[hs]{{1,2}})(?![A-Za-z])))*+"
    r"(?:\^\{?-?\d\}?)?\s*$"
)
"""Letters without a space between them are one word: a pattern that may divide them takes time
without end."""
LETTERS = re.compile(r"(?<=[\d}])\s*[A-Za-z](?:\s*/\s*[A-Za-z]{1,3})?(?:\^\{?-?\d\}?)?\s*$")


BLANKS = re.compile(r"(\s)\s+")


def shortened(blanks: re.Match[str]) -> str:
    """The first of several white-space characters, and a line end if another one is."""
    return blanks[1] + "\n" * ("\n" in blanks[0][1:])


def clean(text: str) -> str:
    """Normalise spaces, fractions, text commands, degrees and currencies.

    The time is proportional to the length of the text.
    """
    inner = boxed_answer(text)
    # Each rule that begins with white space would try every part of a long run.
    text = BLANKS.sub(shortened, text if inner is None else inner)
    text = THIN.sub(",", text)
    for symbol, replacement in SYMBOLS.items():
        text = text.replace(symbol, replacement)
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return re.sub(r"\s+", " ", text).strip().rstrip(".").strip()


def compact(text: str) -> str:
    """Remove spaces and empty text commands, for comparison as text."""
    return re.sub(r"\s+|\\text\{\s*\}", "", text)


def without_unit(text: str, letters: bool = False) -> str:
    r"""Remove the unit after a number: `5.4 \text{ cents}`, `15 \text{cm}^2`, `9 meters`.

    Only for text that is compared with a bare number.

    Args:
        letters: also read single letters as units, as in `5 m/s`, instead of as variables.
    """
    while True:
        shorter = WORDS.sub("", UNIT.sub("", text))
        if shorter == text:
            return LETTERS.sub("", text).strip() if letters else text.strip()
        text = shorter


LETTER = re.compile(r"(?:\\text\{)?\s*[\[(]?\s*([A-Za-z])(?:[\s)\].:}]|$)")
r"""A single letter at the start: `C`, `(C)`, `C. because`, `\text{C}`."""


def read_letter(text: str) -> str | None:
    """The choice letter that a text begins with, in upper case; None if there is none."""
    found = LETTER.match(clean(text))
    return found.group(1).upper() if found else None
