"""One step at a time, for scorers that say one thing at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from trim.models.model import Completion, Prefix
from trim.scorers.scorer import Scores

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
