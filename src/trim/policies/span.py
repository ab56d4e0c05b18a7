"""Places inside a step: how far the strong model writes, and where words and clauses end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trim.errors import InvalidInput
from trim.models.model import Token

CLAUSE_MARKS = ",;:.!?"
NUMBER_MARKS = ",.:"
"""Marks that a digit after them makes a part of a number."""


class Unit(StrEnum):
    """What a span consists of."""

    TOKENS = "tokens"
    CLAUSE = "clause"
    """Up to a comma, colon, semicolon, end of a sentence or of a line."""
    STEP = "step"


@dataclass(frozen=True)
class Extent:
    """How far the strong model writes from a place in a draft.

    Attributes:
        tokens: number of tokens where `unit` is TOKENS, at least 1.

    Raises:
        InvalidInput: `tokens` is below 1.
    """

    unit: Unit = Unit.TOKENS
    tokens: int = 1

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InvalidInput(f"{self.tokens} tokens: the strong model must write at least 1")

    def end(self, tokens: Sequence[Token], whole_words: bool) -> int | None:
        """The number of the `tokens` so far that belong to the span; None while it goes on.

        Args:
            whole_words: end between two words only, for models with different vocabularies.
        """
        match self.unit:
            case Unit.TOKENS:
                return end_of_tokens(tokens, self.tokens, whole_words)
            case Unit.CLAUSE:
                return end_of_clause(tokens)
            case Unit.STEP:
                return None


ONE_TOKEN = Extent()
TO_STEP_END = Extent(Unit.STEP)


def joins(before: str, after: str) -> bool:
    r"""Whether a word or number continues from one character to the next, as in `\frac` or 12."""
    return (before.isalnum() or before == "\\") and after.isalnum()


def end_of_tokens(tokens: Sequence[Token], least: int, whole_words: bool) -> int | None:
    """The end of a span of `least` tokens, or of the word in which they end."""
    for count in range(max(least, len(tokens) - 1), len(tokens) + 1):
        last = tokens[count - 1].text[-1:]
        if not last:
            continue  # a part of a character
        if not whole_words or not joins(last, "a"):
            return count
        # Without a text the next token is a part of a character, perhaps of a letter.
        if count < len(tokens) and (after := tokens[count].text) and not joins(last, after[0]):
            return count
    return None


def end_of_clause(tokens: Sequence[Token]) -> int | None:
    """The end of a clause; after a digit the next token shows whether a mark ends it."""
    text = tokens[-1].text
    if "\n" in text or text.rstrip(" ")[-1:] in tuple(CLAUSE_MARKS):
        mark = text.rstrip(" ")[-1:]
        before = (tokens[-2].text if len(tokens) > 1 and len(text) == 1 else text[:-1])[-1:]
        if mark not in NUMBER_MARKS or not before.isdigit():
            return len(tokens)
    if len(tokens) > 1 and tokens[-2].text[-1:] in tuple(NUMBER_MARKS):
        return None if text[:1].isdigit() else len(tokens) - 1
    return None


def word_start(tokens: Sequence[Token], place: int) -> int:
    """The place moved back to the beginning of the word or number in which it lies.

    Args:
        place: index of a token.
    """
    after = tokens[place].text or "a"  # a part of a character, perhaps of a letter
    while place > 0 and (not (text := tokens[place - 1].text) or joins(text[-1], after[0])):
        place -= 1
        after = text or after
    return place
