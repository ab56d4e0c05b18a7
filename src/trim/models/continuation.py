"""How a model on a server is made to go on from a text that is already there."""

from __future__ import annotations

import re
from enum import StrEnum

from trim.steps import SEPARATOR, split_steps


class Continuation(StrEnum):
    """The ways; docs/engines.md says which server takes which."""

    COMPLETIONS = "completions"
    """The whole text, with a chat template rendered here, goes to `/completions`."""
    CONTINUE_FINAL = "continue_final"
    """Last message from the assistant, `continue_final_message: true` (vLLM, SGLang)."""
    PREFIX = "prefix"
    """Last message from the assistant with `prefix: true` (DeepSeek, Mistral)."""
    PREFILL = "prefill"
    """Last message from the assistant, continued without a word (llama.cpp, older Claude)."""
    USER_TURN = "user_turn"
    """The steps so far are quoted to the model, and what it repeats of them is removed."""


REQUEST = (
    "{question}\n\nThe solution begins with these steps, separated by blank lines:\n\n{said}\n\n"
    "Go on exactly where it ends, with the next step only. Repeat nothing and introduce nothing."
)
"""What a user turn asks for."""


def request(question: str, said: str) -> str:
    """A user turn that asks to go on from `said`; the bare question where nothing is said."""
    return REQUEST.format(question=question, said=said.strip()) if said.strip() else question


def without_repeated(said: str, text: str) -> str:
    """`text` without the beginning that only repeats `said`: all of it, or its last whole steps.

    Words are compared, not blanks between them. A text that begins anew with the beginning of
    `said` and ends before it is over repeats only.
    """
    old = said.split()
    words = list(re.finditer(r"\S+", text))
    new = [word[0] for word in words]
    repeated = 0
    if new and old[: len(new)] == new:
        repeated = len(new)
    length = 0
    for step in reversed(split_steps(said)):
        length += len(step.split())
        if new[:length] == old[-length:]:
            repeated = max(repeated, length)
    if not repeated:
        return text
    return text[words[repeated - 1].end() :].lstrip()


def first_step(text: str) -> str:
    """The beginning of `text` up to the first separator."""
    return text.lstrip("\n").partition(SEPARATOR)[0]
