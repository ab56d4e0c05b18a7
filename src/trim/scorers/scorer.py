"""What the router needs from a scorer: how likely each of the newest steps is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trim.models.model import Completion, Prefix
from trim.trace import Usage


@dataclass(frozen=True)
class Scores:
    """Scores of consecutive steps, the newest last, and what they cost.

    Attributes:
        values: one in [0, 1] for each step that was asked for.
        prompt_tokens: tokens read, cached ones included.
        cached_tokens: how many of those the engine had in its cache.
        tokens: tokens decoded, for scorers that answer by writing.
        seconds: from request to answer, waiting included.
        unread_steps: earliest steps of the trace that the scorer has not read, for it was too
            long.
    """

    values: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    unread_steps: int = 0

    @staticmethod
    def of(values: Sequence[float], usage: Usage, seconds: float, unread_steps: int = 0) -> Scores:
        return Scores(
            tuple(values),
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.tokens,
            seconds,
            unread_steps,
        )


class Scorer(Protocol):
    """A process reward model, or anything that grades the steps of a solution."""

    @property
    def name(self) -> str: ...

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps of a trace: those that `written` holds as they were written.

        Raises:
            ContextExceeded: the trace does not fit.
            ModelUnavailable: the scorer does not answer.
        """
        ...
