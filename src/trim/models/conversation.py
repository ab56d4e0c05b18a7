"""A conversation as the messages that chat models take."""

from __future__ import annotations

from collections.abc import Sequence

from trim.models.model import Role, Turn
from trim.steps import SEPARATOR


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
