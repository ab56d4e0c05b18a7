"""Whether a model on a server really goes on from a text, asked before it is relied on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trim.errors import InvalidInput, Refused
from trim.models.continuation import Continuation
from trim.models.response import Response

QUESTION = "Count from one to ten in words, in one line, with commas between them."
SAID = "one, two, three, four,"
NEXT = "five"
OPENINGS = ("one", "sure", "certainly", "okay", "here", "of", "the")
"""First words of an answer that begins anew."""
TOKENS = 24


class Continuing(Protocol):
    """A model whose mode can be tried."""

    @property
    def name(self) -> str: ...
    @property
    def continuation(self) -> Continuation: ...
    @property
    def modes(self) -> tuple[Continuation, ...]: ...
    async def go_on(self, question: str, said: str, tokens: int) -> Response: ...
    def with_mode(self, continuation: Continuation) -> Continuing: ...


class ProbeResult(StrEnum):
    """What became of a sentence that was sent half."""

    CONTINUED = "continued"
    RESTARTED = "restarted"
    UNCLEAR = "unclear"
    """Neither: a model that cannot count, such as one made for a single task."""


@dataclass(frozen=True)
class Probe:
    """A mode that may be relied on.

    Attributes:
        cached_tokens: tokens that the second of two like requests found in the server's cache,
            where it tells.
    """

    continuation: Continuation
    verdict: ProbeResult
    cached_tokens: int


async def probe(model: Continuing) -> Probe:
    """Try the model's mode.

    Raises:
        InvalidInput: it does not work; the message says which would.
        ModelUnavailable: the server does not answer.
    """
    try:
        return await tried(model)
    except (InvalidInput, Refused) as error:
        works = await working_mode(model)
        advice = f"the mode {works.value!r} works" if works else "no other mode works either"
        raise InvalidInput(
            f"{model.name}: the mode {model.continuation.value!r} does not work: {error}; {advice}"
        ) from error


async def working_mode(model: Continuing) -> Continuation | None:
    """The best of the other modes that works; None without one."""
    for mode in model.modes:
        if mode is not model.continuation:
            try:
                await tried(model.with_mode(mode))
            except (InvalidInput, Refused):
                continue
            return mode
    return None


async def tried(model: Continuing) -> Probe:
    """Raises InvalidInput or Refused where the mode does not work, with the reason alone."""
    answer = await model.go_on(QUESTION, SAID, TOKENS)
    if answer.reasoning:
        raise InvalidInput("the model thinks before it answers, and a thought is no step")
    verdict = verdict_on(answer.text)
    if verdict is ProbeResult.RESTARTED:
        raise InvalidInput("the model begins anew where it should go on")
    if model.continuation in (Continuation.CONTINUE_FINAL, Continuation.PREFIX):
        await require_separator(model)
    again = await model.go_on(QUESTION, SAID, TOKENS)
    return Probe(model.continuation, verdict, again.usage.cached_tokens)


async def require_separator(model: Continuing) -> None:
    """Some chat templates trim a message, and a step loses the blank line that ends it.

    Raises:
        InvalidInput: the server reads a text with and without it as equally long.
    """
    bare, ended = [await model.go_on(QUESTION, SAID + end, 1) for end in (" five", " five\n\n")]
    if bare.usage.prompt_tokens == ended.usage.prompt_tokens:
        raise InvalidInput("the chat template drops the blank line at the end of a step")


def verdict_on(text: str) -> ProbeResult:
    words = re.findall(r"[a-z]+", text.lower())
    if words[:1] == [NEXT]:
        return ProbeResult.CONTINUED
    if words and (words[0] in OPENINGS or (words[:40].count("one") and NEXT in words)):
        return ProbeResult.RESTARTED
    return ProbeResult.UNCLEAR
