"""What a model reads around a bare question."""

from __future__ import annotations

from dataclasses import dataclass

from trim.errors import InvalidInput

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
