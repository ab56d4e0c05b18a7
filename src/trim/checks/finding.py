"""What was found out about one part of a configuration."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from trim.checks.separation import Separation
from trim.errors import ModelUnavailable, Refused, TrimError
from trim.models.continuation import Continuation
from trim.models.probe import Verdict

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """What one part does.

    Attributes:
        reachable: whether it was loaded, or its server answered.
        modes: by continuation that works, the probe's verdict (`trim.models.probe`), the best
            first; empty for a scorer.
        continuation: the configured one; None for a scorer.
        tokens: prompt tokens and written ones that were counted for one step; None for a scorer.
        cached: prompt tokens that the second of two like requests found in the cache; 0 where
            that is not told.
        separation: scores of right and wrong steps; None for a model.
        milliseconds: median of a few calls.
        failure: what is wrong and what would be right, in one line; None where all is well.
    """

    part: str
    reachable: bool = False
    continuation: Continuation | None = None
    modes: tuple[tuple[Continuation, Verdict], ...] = ()
    tokens: tuple[int, int] | None = None
    cached: int | None = None
    separation: Separation | None = None
    milliseconds: float | None = None
    failure: str | None = None

    @property
    def verdict(self) -> Verdict | None:
        """On the configured continuation."""
        return dict(self.modes).get(self.continuation) if self.continuation else None


def failed(finding: Finding, error: TrimError) -> Finding:
    """The finding with what ended the trial of a part that was made; a refusal shows that a server
    is there."""
    answered = isinstance(error, Refused) or not isinstance(error, ModelUnavailable)
    return replace(finding, reachable=finding.reachable or answered, failure=str(error))


async def timed(
    calls: Iterable[Callable[[], Awaitable[Result]]],
) -> tuple[list[Result], float]:
    """The answers of calls that are made one after the other, and the median of their
    milliseconds."""
    answers, spent = [], []
    for call in calls:
        started = time.perf_counter()
        answers.append(await call())
        spent.append(1000 * (time.perf_counter() - started))
    return answers, statistics.median(spent)
