"""What the router needs from a scorer: how likely each of the newest steps is right."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trim.models.model import Completion, Prefix
from trim.types import Usage


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


def checked(values: Sequence[float]) -> tuple[float, ...]:
    """The scores as they are.

    Raises:
        ValueError: one is no number, not finite or outside [0, 1].
    """
    for position, value in enumerate(values, 1):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not 0 <= value <= 1:
            raise ValueError(f"score {position} of {len(values)} is {value}, not within [0, 1]")
    return tuple(map(float, values))


ScoreOne = Callable[[Prefix, Completion], Awaitable[Scores]]
"""Scores the newest step of a trace, given as it was written as well."""


async def score_each(trace: Prefix, written: Sequence[Completion], score_one: ScoreOne) -> Scores:
    """The scores of the newest steps, one after the other, and what they cost together."""
    first = len(trace.steps) - len(written) + 1
    scored = [await score_one(trace.until(end), step) for end, step in enumerate(written, first)]
    return Scores(
        values=tuple(value for scores in scored for value in scores.values),
        prompt_tokens=sum(scores.prompt_tokens for scores in scored),
        cached_tokens=sum(scores.cached_tokens for scores in scored),
        tokens=sum(scores.tokens for scores in scored),
        seconds=sum(scores.seconds for scores in scored),
        unread_steps=max((scores.unread_steps for scores in scored), default=0),
    )


KINDS = ("joint", "prm", "logprob", "entropy", "grade")
"""Kinds of score: reward model and confidence together, process reward model, confidence in
the step, certainty of its first token, grade by the strong model. The first two need a model
of their own, the others none."""
