"""What the router needs from a language model: to write the next step of a solution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

from trim.steps import SEPARATOR, closed


class Role(StrEnum):
    """Who said something in a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Turn:
    """What was said before the question."""

    role: Role
    text: str


@dataclass(frozen=True)
class Prefix:
    """A bare question and the steps that have been kept so far, as they were written.

    Attributes:
        steps: each with the blank line that ends it.
        history: what was said before the question, the oldest first.
    """

    question: str
    steps: tuple[str, ...] = ()
    history: tuple[Turn, ...] = ()

    @property
    def asked(self) -> str:
        """The question after all that was said before it, for readers of plain text."""
        return SEPARATOR.join((*(turn.text for turn in self.history), self.question))

    @property
    def said(self) -> str:
        """The steps as one text, ended by a blank line."""
        return "".join(map(closed, self.steps))

    def then(self, step: str) -> Prefix:
        return replace(self, steps=(*self.steps, step))

    def until(self, length: int) -> Prefix:
        """With the first `length` steps alone."""
        return replace(self, steps=self.steps[:length])


@dataclass(frozen=True)
class Sampling:
    """How a step is sampled.

    Attributes:
        temperature: 0 is greedy.
        top_p: share of the probability that is kept, in (0, 1].
        top_k: number of likeliest tokens that are kept; 0 keeps all.
        max_tokens: tokens a step may have before it is cut.
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


@dataclass(frozen=True)
class Completion:
    """One step as a model wrote it, with the engine's own token counts.

    Attributes:
        text: the step as it was written, the blank line that ends it included. A model may
            leave that out: a step that another one follows is ended by one.
        tokens: tokens decoded, including separator and end tokens.
        prompt_tokens: tokens of the prefix, cached ones included.
        cached_tokens: how many of those the engine had in its cache.
        seconds: from request to answer, waiting included.
        log_probability: mean over the tokens, in nats; None where the engine does not tell it.
        first_entropy: entropy of the first token's distribution, in nats; None where it was not
            asked for.
    """

    text: str
    ending: Ending
    tokens: int
    prompt_tokens: int
    cached_tokens: int = 0
    seconds: float = 0.0
    log_probability: float | None = None
    first_entropy: float | None = None


class Model(Protocol):
    """A language model that continues a solution by one step."""

    @property
    def name(self) -> str: ...

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step; the same arguments give the same text within a run.

        Raises:
            ContextExceeded: the prefix does not fit.
            ModelUnavailable: the model does not answer.
        """
        ...


@runtime_checkable
class Prefilling(Protocol):
    """A model that can read a prefix in advance, so that its server has it in its cache."""

    async def prefill(self, prefix: Prefix) -> Completion:
        """Read; what little is written for it is of no use.

        Raises:
            ContextExceeded, ModelUnavailable: as `write_step`.
        """
        ...
