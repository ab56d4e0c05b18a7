"""Answers of several parts: lists, tuples, sets, names with values."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    """What stands in a pair of brackets that encloses a whole text."""

    opening: str
    content: str
    closing: str

    @property
    def is_set(self) -> bool:
        return self.opening == "⦃"


def split_list(text: str) -> list[str]:
    r"""The parts of a list: at commas outside of brackets, `;`, `and`, `or`; `\pm` is two parts."""
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
    r"""`1 \pm a` is `1 + a` and `1 - a`."""
    if part.count(r"\pm") != 1 or part.startswith("⦃"):
        return (part,)
    return part.replace(r"\pm", "+"), part.replace(r"\pm", "-")


def open_brackets(text: str) -> Enclosed | None:
    """The brackets around a whole text, those of sets too; None where there are none."""
    if not text or text[0] not in "([⦃" or text[-1] not in ")]⦄":
        return None
    depth = 0
    for position, character in enumerate(text):
        depth += (character in OPENING) - (character in CLOSING)
        if depth == 0 and position < len(text) - 1:
            return None
    return Enclosed(text[0], text[1:-1].strip(), text[-1]) if depth == 0 else None


def split_name(text: str) -> tuple[str, str]:
    r"""`x=5`, `f(x)=2x` and `x \in [0, 1]` as name and value; the name is empty without one."""
    found = ASSIGNED.match(text)
    if not found or "=" in text[found.end() :]:
        return "", text
    return re.sub(r"\s+|\\text|[{}]", "", found.group(1)), text[found.end() :]
