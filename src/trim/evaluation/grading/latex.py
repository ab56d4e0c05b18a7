"""LaTeX that looks different and means the same, written in one way."""

from __future__ import annotations

import re

from trim.steps import boxed_answer

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
"""By what each is replaced. Currencies and degrees go: no reference needs them. Braces of sets
become one character each, so that they differ from those of LaTeX."""

RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Where a formula is explained: `ax+b, where a is positive`.
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
        # `9i` is a variable to math-verify, and `9 i` is not.
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
r"""A comma that a thin space follows parts thousands: `10,\!080`."""
UNIT = re.compile(
    r"\s*(?:\\text\{[^{}]*\}|\\(?:AA|mu|Omega)(?![A-Za-z])|[/*]|\\cdot(?![A-Za-z])|\s)"
    r"(?:\s*\^\s*(?:\{\s*-?\d+\s*\}|-?\d))?\s*$"
)
TWO_LETTERS = r"cm|mm|km|nm|pm|kg|mg|ml|mL|in|ft|mi|hr|eV|Hz|kJ|ms"
WORDS = re.compile(
    rf"(?<=[\d}}])\s*(?:[A-Za-z]{{3,}}|{TWO_LETTERS})"
    rf"(?:\s*/?\s*(?:[A-Za-z]{{3,}}|{TWO_LETTERS}|h|s))*(?:\^\{{?-?\d\}}?)?\s*$"
)
LETTERS = re.compile(r"(?<=[\d}])\s*[A-Za-z](?:\s*/\s*[A-Za-z]{1,3})?(?:\^\{?-?\d\}?)?\s*$")


def clean(text: str) -> str:
    """One way of writing for many: spaces, fractions, text commands, degrees, currencies."""
    inner = boxed_answer(text)
    text = THIN.sub(",", text if inner is None else inner)
    for symbol, replacement in SYMBOLS.items():
        text = text.replace(symbol, replacement)
    for pattern, replacement in RULES:
        text = pattern.sub(replacement, text)
    return re.sub(r"\s+", " ", text).strip().rstrip(".").strip()


def compact(text: str) -> str:
    """Without spaces and braces that change nothing, for comparison as text."""
    return re.sub(r"\s+|\\text\{\s*\}", "", text)


def without_unit(text: str, letters: bool = False) -> str:
    r"""Without what follows a number: `5.4 \text{ cents}`, `15 \text{cm}^2`, `9 meters`.

    Only for text that is compared with a bare number.

    Args:
        letters: take single letters for units too, as in `5 m/s`; elsewhere they are variables.
    """
    while True:
        shorter = WORDS.sub("", UNIT.sub("", text))
        if shorter == text:
            return LETTERS.sub("", text).strip() if letters else text.strip()
        text = shorter
