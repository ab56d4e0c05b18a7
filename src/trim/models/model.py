"""The interface of a language model that writes a solution step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from trim.plugins import make_plugin
from trim.steps import SEPARATOR, closed

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Turn:
    """A message before the question."""

    role: Role
    text: str


@dataclass(frozen=True)
class Prefix:
    """A question and the steps kept so far, verbatim.

    Attributes:
        steps: each with the blank line that ends it.
        history: messages before the question, the oldest first.
        begun: the beginning of the next step; empty between two steps.
    """

    question: str
    steps: tuple[str, ...] = ()
    history: tuple[Turn, ...] = ()
    begun: str = ""

    @property
    def full_question(self) -> str:
        """History and question as one plain text."""
        return SEPARATOR.join((*(turn.text for turn in self.history), self.question))

    @property
    def text(self) -> str:
        """The steps as one text, each ended by a blank line, and the beginning of the next."""
        return "".join(map(closed, self.steps)) + self.begun

    def then(self, step: str) -> Prefix:
        """The prefix after another whole step."""
        return replace(self, steps=(*self.steps, step), begun="")

    def inside(self, begun: str) -> Prefix:
        """The prefix inside the next step, after its beginning."""
        return replace(self, begun=begun)

    def after(self, text: str, ending: Ending) -> Prefix:
        """The prefix after a text that continues this one and ended so."""
        whole = self.begun + text
        return self.then(whole) if ending is Ending.STEP else self.inside(whole)

    def until(self, length: int) -> Prefix:
        """The prefix with only the first `length` steps."""
        return replace(self, steps=self.steps[:length], begun="")


@dataclass(frozen=True)
class Sampling:
    """How a step is sampled.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus sampling: probability mass that is kept, in (0, 1].
        top_k: number of likeliest tokens that are kept; 0 keeps all.
        max_tokens: maximum tokens of a step; a longer one is cut.
    """

    temperature: float = 0.7
    top_p: float = 0.8
    top_k: int = 20
    max_tokens: int = 2048


class Ending(StrEnum):
    """Why a model stopped writing."""

    STEP = "step"
    """The step is complete: the separator followed."""
    SOLUTION = "solution"
    """The model ended the whole solution by itself."""
    LENGTH = "length"
    """The step was cut, by its token limit or at the end of the context."""
    RULE = "rule"
    """A stop rule ended the text inside the step (`trim.models.spans`)."""


@dataclass(frozen=True)
class Token:
    """A decoded token.

    Attributes:
        text: its text; empty for a part of a character, whose last token has the whole character.
        log_probability: in nats, at most 0, of the model's own distribution: at temperature 1 and
            before top-p and top-k.
        likeliest: the likeliest tokens at its place, with their log-probabilities.
        id: its number in the vocabulary; None where the engine does not report it.
    """

    text: str
    log_probability: float
    likeliest: tuple[tuple[str, float], ...] = ()
    id: int | None = None

    @property
    def probability(self) -> float:
        """In (0, 1]; 0 where it underflows."""
        return math.exp(self.log_probability)


@dataclass(frozen=True)
class Completion:
    """A step as a model wrote it, with the engine's token counts.

    Attributes:
        text: the step verbatim, the blank line that ends it included. A model may leave that
            out; it is added where another step follows.
        tokens: tokens decoded, including separator and end tokens.
        prompt_tokens: tokens of the prefix, cached ones included.
        cached_tokens: how many of those the engine had in its cache.
        seconds: from request to answer, time in queues included.
        log_probability: mean over the tokens, in nats, at most 0; None where the engine does not
            report it.
        first_entropy: entropy of the first token's distribution, in nats, at least 0; None where
            it was not requested.
        decoded: the tokens of the text; empty where they were not requested.
        dropped: the tokens after them, beyond the place where a stop rule ended the text.
    """

    text: str
    ending: Ending
    tokens: int
    prompt_tokens: int
    cached_tokens: int = 0
    seconds: float = 0.0
    log_probability: float | None = None
    first_entropy: float | None = None
    decoded: tuple[Token, ...] = ()
    dropped: tuple[Token, ...] = ()

    @property
    def kept(self) -> int:
        """Tokens of the text."""
        return len(self.decoded) if self.decoded or self.dropped else self.tokens


class Model(Protocol):
    """A language model that continues a solution by one step."""

    @property
    def name(self) -> str: ...

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step. Within a run, equal arguments give equal texts.

        Raises:
            ContextExceeded: the prefix does not fit.
            ModelUnavailable: the model does not answer.
        """
        ...


@runtime_checkable
class Prefilling(Protocol):
    """A model that can read a prefix in advance, into the cache of its server."""

    async def prefill(self, prefix: Prefix) -> Completion:
        """Read the prefix; the few tokens decoded for it are discarded.

        Raises:
            ContextExceeded, ModelUnavailable: as `write_step`.
        """
        ...


MODELS = "trim.models"
"""Entry-point group in which other packages offer models."""


def load_model(plugin: str, settings: Mapping[str, Any] = NO_SETTINGS) -> Model:
    """A model of another package, as `plugin: NAME` in a configuration.

    The entry point is a class or a function that takes the settings as keywords.

    Raises:
        InvalidInput: no installed package offers it, it does not take these settings, or it
            returns no model.
    """
    model: Model = make_plugin(MODELS, plugin, settings, "model", "write_step")
    return model
