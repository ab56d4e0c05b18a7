"""The interface of a step scorer: the probability that each of the newest steps is right."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Protocol

from trim.errors import InvalidInput
from trim.models.model import NO_SETTINGS, Completion, Prefix
from trim.plugins import make_plugin
from trim.types import Usage


@dataclass(frozen=True)
class Scores:
    """Scores of consecutive steps, the newest last, and their cost.

    Attributes:
        values: one in [0, 1] for each scored step.
        prompt_tokens: tokens read, cached ones included.
        cached_tokens: how many of those the engine had in its cache.
        tokens: tokens decoded, for scorers that answer by writing.
        seconds: from request to answer, time in queues included.
        unread_steps: number of earliest steps that were left out of a trace too long for the
            scorer.
        requests: the scores of each request, where every step was one of its own.
    """

    values: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    unread_steps: int = 0
    requests: tuple[Scores, ...] = ()

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


def usage_of(answer: Completion | Scores) -> Usage:
    """What an answer took, a request for each step that was one of its own."""
    requests = len(answer.requests) if isinstance(answer, Scores) else 1
    return Usage(answer.prompt_tokens, answer.cached_tokens, answer.tokens, max(requests, 1))


class Scorer(Protocol):
    """A process reward model, or anything else that grades the steps of a solution."""

    @property
    def name(self) -> str: ...

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps of a trace.

        Args:
            trace: question and steps, those to be scored last.
            written: the completions of the steps to be scored, at least one.

        Raises:
            ContextExceeded: the trace does not fit.
            ModelUnavailable: the scorer does not answer.
        """
        ...


def require_scores(values: Sequence[float]) -> tuple[float, ...]:
    """The scores; ValueError if one is not a number in [0, 1]."""
    for position, value in enumerate(values, 1):
        # numpy's single-precision numbers are real, but no `float`.
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not 0 <= value <= 1:
            raise ValueError(f"score {position} of {len(values)} is {value}, not within [0, 1]")
    return tuple(map(float, values))


async def checked_scores(scorer: Scorer, trace: Prefix, written: Sequence[Completion]) -> Scores:
    """`Scorer.score`, whose values may be those of another package.

    Raises:
        InvalidInput: they are not one number in [0, 1] for each step.
        ContextExceeded, ModelUnavailable: as `Scorer.score`.
    """
    scores = await scorer.score(trace, written)
    try:
        values = require_scores(scores.values)
        if len(values) != len(written):
            raise ValueError(f"{len(values)} scores for {len(written)} steps")
    except ValueError as error:
        raise InvalidInput(
            f"scorer {scorer.name!r}: {error}; it must return one number in [0, 1] for each step"
        ) from error
    return replace(scores, values=values)


ScoreOne = Callable[[Prefix, Completion], Awaitable[Scores]]
"""Scores the newest step of a trace, given its completion too."""


async def score_each(trace: Prefix, written: Sequence[Completion], score_one: ScoreOne) -> Scores:
    """Score the newest steps one after the other; costs are summed."""
    first = len(trace.steps) - len(written) + 1
    scored = [await score_one(trace.until(end), step) for end, step in enumerate(written, first)]
    return Scores(
        values=tuple(value for scores in scored for value in scores.values),
        prompt_tokens=sum(scores.prompt_tokens for scores in scored),
        cached_tokens=sum(scores.cached_tokens for scores in scored),
        tokens=sum(scores.tokens for scores in scored),
        seconds=sum(scores.seconds for scores in scored),
        unread_steps=max((scores.unread_steps for scores in scored), default=0),
        requests=tuple(scored),
    )


KINDS = ("joint", "prm", "logprob", "entropy", "grade")
"""Kinds of scores: reward model and confidence together, process reward model, confidence in the
step, certainty of its first token, grade by the strong model. Only the first two need a reward
model."""


SCORERS = "trim.scorers"
"""Entry-point group in which other packages offer scorers."""


def load_scorer(plugin: str, settings: Mapping[str, Any] = NO_SETTINGS) -> Scorer:
    """A scorer of another package, as `plugin: NAME` in a configuration.

    The entry point is a class or a function that takes the settings as keywords.

    Raises:
        InvalidInput: no installed package offers it, it does not take these settings, or it
            returns no scorer.
    """
    scorer: Scorer = make_plugin(SCORERS, plugin, settings, "scorer", "score")
    return scorer
