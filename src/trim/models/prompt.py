"""The text around a question: system message, user message, beginning of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trim.errors import InvalidInput
from trim.models.model import Role, Turn
from trim.steps import SEPARATOR

QUESTION = "{question}"
"""Placeholder of the question in a user template; other braces have no meaning."""


@dataclass(frozen=True)
class Prompt:
    """System message, user message and the beginning of the assistant's message.

    Attributes:
        system: None for none.
        user: the user's message, with `{question}` in it.
        assistant: beginning of the assistant's message, before the first step; the continuation
            `user_turn` leaves it out.
        resumed: the same once there are steps; None for `assistant`.

    Raises:
        InvalidInput: `user` does not hold `{question}`.
    """

    system: str | None = None
    user: str = QUESTION
    assistant: str = ""
    resumed: str | None = None

    def __post_init__(self) -> None:
        require_question(self.user)

    def user_message(self, question: str) -> str:
        """The user's message."""
        return self.user.replace(QUESTION, question)

    def opening(self, steps: bool) -> str:
        """The beginning of the assistant's message.

        Args:
            steps: whether steps follow.
        """
        return self.resumed if steps and self.resumed is not None else self.assistant


def require_question(template: str) -> None:
    """Raises InvalidInput for a user template without the placeholder."""
    if QUESTION not in template:
        raise InvalidInput(f"the user template {template!r} lacks {QUESTION}, the question's place")


def conversation(system: str | None, history: Sequence[Turn], asked: str) -> list[dict[str, str]]:
    """Chat messages: a system message, the history, and the user's newest message.

    All system messages become one, `system` first: most chat templates take only one.
    """
    others = [turn.text for turn in history if turn.role is Role.SYSTEM]
    texts = [text for text in (system, *others) if text]
    messages = [{"role": "system", "content": SEPARATOR.join(texts)}] if texts else []
    messages += [
        {"role": str(turn.role), "content": turn.text}
        for turn in history
        if turn.role is not Role.SYSTEM
    ]
    return [*messages, {"role": "user", "content": asked}]


STEP_BY_STEP = Prompt("Please reason step by step, and put your final answer within \\boxed{}.")
"""The usual prompt of models that read chats: the box marks the end of a solution."""
