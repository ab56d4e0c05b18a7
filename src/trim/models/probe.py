"""Whether a model on a server continues a text, tried before it is relied on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Protocol, TypeVar

from trim.errors import InvalidInput, Refused
from trim.models.continuation import Continuation
from trim.models.response import Response
from trim.steps import SEPARATOR

QUESTION = "Count from one to ten in words, in one line, with commas between them."
HALF = "one, two, three, four,"
"""The half of an answer that the model is to continue."""
NEXT = "five"
OPENINGS = ("one", "sure", "certainly", "okay", "here", "of", "the")
"""First words of an answer that starts over."""
TOKENS = 24


class Continuing(Protocol):
    """A model whose mode can be tried."""

    @property
    def name(self) -> str: ...
    @property
    def continuation(self) -> Continuation: ...
    @property
    def modes(self) -> tuple[Continuation, ...]: ...
    async def continue_text(self, question: str, text: str, tokens: int) -> Response: ...
    def with_mode(self, continuation: Continuation) -> Continuing: ...


class ThinksFirst(InvalidInput):
    """The model thinks before it answers."""


class ProbeResult(StrEnum):
    """How a model answered to half a sentence."""

    CONTINUED = "continued"
    RESTARTED = "restarted"
    UNCLEAR = "unclear"
    """Neither: a model that cannot count, such as a small one for a single task."""


@dataclass(frozen=True)
class Probe:
    """A mode that works.

    Attributes:
        cached_tokens: prompt tokens of a repeated request that the server had in its cache, if it
            reports them.
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
        verdict = await try_mode(model)
        again = await model.continue_text(QUESTION, HALF, TOKENS)
        return Probe(model.continuation, verdict, again.usage.cached_tokens)
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
                await try_mode(model.with_mode(mode))
            except (InvalidInput, Refused):
                continue
            return mode
    return None


async def try_mode(model: Continuing) -> ProbeResult:
    """Have the model continue half a sentence.

    Raises:
        InvalidInput, Refused: the mode does not work; the message is the reason alone.
        ModelUnavailable: the server does not answer.
    """
    answer = await model.continue_text(QUESTION, HALF, TOKENS)
    if answer.reasoning:
        raise ThinksFirst("the model thinks before it answers, and a thought is not a step")
    verdict = verdict_on(answer.text)
    if verdict is ProbeResult.RESTARTED:
        raise InvalidInput("the model starts over instead of continuing")
    trims = model.continuation in (Continuation.CONTINUE_FINAL, Continuation.PREFIX)
    if trims and await drops(model, SEPARATOR):
        raise InvalidInput("the chat template drops the blank line at the end of a step")
    return verdict


async def drops(model: Continuing, space: str) -> bool:
    """Whether the model does not read white space at the end of a text.

    Some chat templates trim a message: the prompt then has as many tokens without the space.
    """
    bare, ended = [
        await model.continue_text(QUESTION, f"{HALF} {NEXT}{end}", 1) for end in ("", space)
    ]
    return bare.usage.prompt_tokens == ended.usage.prompt_tokens


def verdict_on(text: str) -> ProbeResult:
    words = re.findall(r"[a-z]+", text.lower())
    if words[:1] == [NEXT]:
        return ProbeResult.CONTINUED
    if words and (words[0] in OPENINGS or (words[:40].count("one") and NEXT in words)):
        return ProbeResult.RESTARTED
    return ProbeResult.UNCLEAR


Choice = TypeVar("Choice")


async def working_choices(
    choices: Iterable[Choice],
    model_of: Callable[[Choice], Continuing],
    without_thinking: Callable[[Choice], Choice | None],
) -> list[Choice]:
    """The first choice with which a model continues a text.

    Choices whose model thinks first are tried again without thinking, after all others. If no
    verdict is clear, the result is all choices that may work.

    Args:
        model_of: the model of a choice.
        without_thinking: the choice with thinking disabled; None where it is, or cannot be.

    Raises:
        InvalidInput: none works; the message gives the reason of the first.
        ModelUnavailable: the server does not answer.
    """
    reasons: list[Exception] = []
    unclear: list[Choice] = []
    retries: list[Choice] = []
    for choice in chain(choices, (each for each in retries if not unclear)):
        try:
            verdict = await try_mode(model_of(choice))
        except (InvalidInput, Refused) as error:
            reasons.append(error)
            quiet = without_thinking(choice) if isinstance(error, ThinksFirst) else None
            if quiet is not None:
                retries.append(quiet)
            continue
        if verdict is ProbeResult.CONTINUED:
            return [choice]
        unclear.append(choice)
    if not unclear:
        raise InvalidInput(f"no continuation works: {reasons[0]}") from reasons[0]
    return unclear
