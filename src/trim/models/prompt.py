"""What a model reads around a bare question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trim.errors import InvalidInput
from trim.models.model import Role, Turn
from trim.steps import SEPARATOR

QUESTION = "{question}"
"""Stands in a user template where the question comes; no other braces mean anything."""


@dataclass(frozen=True)
class Prompt:
    """System message, user turn and the beginning of the assistant's turn.

    Attributes:
        system: None for none.
        user: the user's turn, with `{question}` in it.
        assistant: what the assistant's turn begins with, before the first step. A model that is
            asked in a user turn (`user_turn`) does not read it.
        resumed: in its place once there are steps; None for the same.

    Raises:
        InvalidInput: `user` does not hold `{question}`.
    """

    system: str | None = None
    user: str = QUESTION
    assistant: str = ""
    resumed: str | None = None

    def __post_init__(self) -> None:
        require_question(self.user)

    def asked(self, question: str) -> str:
        """The user's turn."""
        return self.user.replace(QUESTION, question)

    def opening(self, steps: bool) -> str:
        """The beginning of the assistant's turn.

        Args:
            steps: whether steps follow.
        """
        return self.resumed if steps and self.resumed is not None else self.assistant


def require_question(template: str) -> None:
    """Raises InvalidInput for a user template that does not hold the question."""
    if QUESTION not in template:
        raise InvalidInput(
            f"the user template {template!r} lacks {QUESTION}; the question has to stand somewhere"
        )


def conversation(system: str | None, history: Sequence[Turn], asked: str) -> list[dict[str, str]]:
    """Messages of a system message, what was said before, and the user's newest turn.

    Everything that a system said becomes one message, the model's own first, for most chat
    templates take one, at the beginning.
    """
    said = [turn.text for turn in history if turn.role is Role.SYSTEM]
    told = [text for text in (system, *said) if text]
    messages = [{"role": "system", "content": SEPARATOR.join(told)}] if told else []
    messages += [
        {"role": str(turn.role), "content": turn.text}
        for turn in history
        if turn.role is not Role.SYSTEM
    ]
    return [*messages, {"role": "user", "content": asked}]
