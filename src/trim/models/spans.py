"""Writing inside a step: a model reports its tokens, and a rule ends the text between two."""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from trim.errors import InvalidInput
from trim.models.model import Completion, Ending, Model, Prefix, Sampling, Token
from trim.models.response import (
    LLAMA_CPP_ENDINGS,
    LONGEST_TOKEN,
    entropy_at,
    finite,
    likeliest_of,
    require_ids,
)
from trim.steps import SEPARATOR

StopRule = Callable[[Sequence[Token]], int | None]
"""Called after each token with all tokens so far. The number of tokens to keep ends the text
there; None goes on. It may run in another thread and must depend on its argument alone."""

WORD_TOKENS = 8
"""Tokens that a word may have beyond the limit of a span that ends with a whole word."""


@runtime_checkable
class SpanModel(Protocol):
    """A model that reports its tokens and continues inside a step."""

    @property
    def vocabulary(self) -> str | None:
        """Fingerprint of the vocabulary, equal for equal ones; None where it is unknown."""

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        """Continue after `prefix.begun`, up to the end of the step or to where `stop` ends it.

        Where the engine streams, decoding ends with the token at which `stop` ends the text;
        otherwise more tokens are decoded, counted and dropped.

        Returns:
            The text after `prefix.begun`, with its tokens in `decoded` and those after it, of which
            the first is the one that ended the text, in `dropped`.

        Raises:
            ContextExceeded, ModelUnavailable: as `Model.write_step`.
        """
        ...

    async def span_obstacle(self) -> str | None:
        """Why the model cannot write inside steps, as a clause; None if it can.

        Raises:
            ModelUnavailable: the model does not answer.
        """
        ...


async def span_obstacle(model: Model) -> str | None:
    """Why a model cannot write inside steps, as a clause; None if it can.

    A model that is no `SpanModel` may have the method `span_obstacle` alone.
    """
    find: Callable[[], Awaitable[str | None]] | None = getattr(model, "span_obstacle", None)
    if find is None:
        return "it reports no tokens, and cannot continue inside a step"
    return await find()


async def require_spans(model: Model) -> SpanModel:
    """The model, if it can write inside steps; raises InvalidInput otherwise."""
    if isinstance(model, SpanModel):
        obstacle = await model.span_obstacle()
        if obstacle is None:
            return model
    else:
        obstacle = await span_obstacle(model)
    raise InvalidInput(
        f"{model.name} cannot write inside a step: {obstacle}; choose a policy for whole steps"
    )


class ModelWrapper:
    """Base of models that add something to another: it writes inside steps if that one does."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name

    @property
    def vocabulary(self) -> str | None:
        return getattr(self.model, "vocabulary", None)

    async def span_obstacle(self) -> str | None:
        return await span_obstacle(self.model)


@dataclass(frozen=True)
class DeadlineRule:
    """Ends a text as `rule` does, or at a moment of `time.monotonic`."""

    rule: StopRule | None
    deadline: float

    def __call__(self, tokens: Sequence[Token]) -> int | None:
        if time.monotonic() >= self.deadline:
            return len(tokens)
        return self.rule(tokens) if self.rule else None


SECOND = 2
"""Likeliest tokens that are requested for the margin between the first two."""


class TokenDecoder:
    """Reads llama.cpp's records of tokens that may hold parts of characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def token(self, record: Mapping[str, Any]) -> Token:
        """The next token, from `bytes`, `logprob`, `top_logprobs` and `id` of its record.

        Raises:
            LookupError, TypeError, ValueError: the record is malformed.
        """
        likeliest = ((top["token"], top["logprob"]) for top in record["top_logprobs"])
        spelled, (number,) = record["bytes"], require_ids([record["id"]])
        # Of a number n, Python would make n zeros.
        if not isinstance(spelled, list) or len(spelled) > LONGEST_TOKEN:
            raise ValueError(f"the bytes of a token are not a list of at most {LONGEST_TOKEN}")
        text = self._decoder.decode(bytes(spelled))
        return Token(text, finite(record["logprob"]), likeliest_of(likeliest), number)


@dataclass
class TokenReader:
    """Reads the tokens of a span one by one, until the step or the rule ends it.

    Args:
        begun: the step before the span.
        stop: None for no rule.

    Attributes:
        tokens: those read so far.
        kept: number of tokens of the span; None while it goes on.
        ends_step: whether the blank line that ends the step is in the span.
    """

    begun: str
    stop: StopRule | None = None
    tokens: list[Token] = field(default_factory=list)
    kept: int | None = None
    ends_step: bool = False
    _tail: str = field(init=False)

    def __post_init__(self) -> None:
        self._tail = "" if self.begun.endswith(SEPARATOR) else self.begun[-1:]

    def add(self, token: Token) -> bool:
        """Read another token; returns whether the span has ended, before it or with it."""
        self.tokens.append(token)
        if self.kept is not None:
            return True
        text = self._tail + token.text
        self._tail = text[-1:]
        if self.stop is not None:
            self.kept = self.stop(self.tokens)
        if SEPARATOR in text and self.kept in (None, len(self.tokens)):
            self.kept, self.ends_step = len(self.tokens), True
        return self.kept is not None

    @property
    def decoded(self) -> tuple[Token, ...]:
        """The tokens of the span."""
        return tuple(self.tokens[: self.kept])

    @property
    def dropped(self) -> tuple[Token, ...]:
        """The tokens after the span."""
        return tuple(self.tokens[len(self.decoded) :])

    def ending(self, stop_type: str | None) -> Ending:
        """Why the span ended.

        Args:
            stop_type: llama.cpp's reason (`word`, `eos`, `limit`), for a span that ended by itself.
        """
        if self.kept is None:
            return LLAMA_CPP_ENDINGS[stop_type or "limit"]
        return Ending.STEP if self.ends_step else Ending.RULE


def first_entropy_of(tokens: Sequence[Token]) -> float:
    """Entropy in nats of the first token's distribution; 0 without tokens."""
    return entropy_at(tokens[0]) if tokens else 0.0


def mean_of(tokens: Sequence[Token]) -> float:
    """Mean log-probability in nats, without line ends at the end; 0 without tokens."""
    own = list(tokens)
    while own and own[-1].text and not own[-1].text.strip("\n"):
        own.pop()
    return math.fsum(token.log_probability for token in own) / len(own) if own else 0.0
