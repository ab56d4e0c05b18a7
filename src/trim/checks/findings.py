"""The best of what was tried, by name, in one line each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from trim.checks.separation import ScorerFitness, Separation
from trim.errors import ModelUnavailable, Refused, TrimError
from trim.models.continuation import Continuation
from trim.models.probe import ProbeResult

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
    modes: tuple[tuple[Continuation, ProbeResult], ...] = ()
    tokens: tuple[int, int] | None = None
    cached: int | None = None
    separation: Separation | None = None
    milliseconds: float | None = None
    failure: str | None = None

    @property
    def verdict(self) -> ProbeResult | None:
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


CLOSE = 0.1
"""Difference of two AUCs that says nothing: they come from few samples, and not the same ones."""


@dataclass(frozen=True)
class ScorerAdvice:
    """Which scorer to take.

    Attributes:
        best: its kind; None where none was found to be fit.
        line: what to say; None where no scorer could be tried.
    """

    best: str | None
    line: str | None


def scorer_advice(tried: Mapping[str, Separation], configured: str | None) -> ScorerAdvice:
    """Which of the tried scorers to take (`best_scorer`)."""
    if not tried:
        return ScorerAdvice(None, None)
    best = best_scorer(tried, configured)
    others = {kind: each for kind, each in tried.items() if kind not in (best, configured)}
    shown = ", ".join(f"{kind} ({shown_auc(each)})" for kind, each in others.items())
    also = f"; also tried: {shown}" if shown else ""
    if best is None:
        every = ", ".join(f"{kind} ({shown_auc(each)})" for kind, each in tried.items())
        unclear = any(each.fitness is ScorerFitness.UNCLEAR for each in tried.values())
        why = "there are not enough samples to tell" if unclear else "none tells right from wrong"
        return ScorerAdvice(
            None,
            f"recommended scorer: none of {every}, as {why}; a reward model may (kind: pooling or"
            " label)",
        )
    line = f"recommended scorer: {best} ({tried[best].auc:.2f} of pairs right)"
    if configured == best:
        return ScorerAdvice(best, f"{line}, as configured{also}")
    known = tried.get(configured) if configured else None
    said = f"{configured} ({shown_auc(known)})" if known else configured or "none"
    return ScorerAdvice(best, f"{line}; configured: {said}{also}")


def best_scorer(tried: Mapping[str, Separation], configured: str | None = None) -> str | None:
    """The kind with the largest AUC of those that are fit, the configured one if it is close to
    that; None where none is fit."""
    fit = {
        kind: each.auc or 0.0 for kind, each in tried.items() if each.fitness is ScorerFitness.FIT
    }
    best = max(fit, key=lambda kind: fit[kind], default=None)
    close = best and configured in fit and fit[configured] > fit[best] - CLOSE
    return configured if close else best


def shown_auc(separation: Separation) -> str:
    """`0.83`, with a question mark where it may be chance; without enough samples only that."""
    if not separation.enough:
        return "?"
    return f"{separation.auc:.2f}{'?' * (separation.fitness is ScorerFitness.UNCLEAR)}"


def mode_advice(finding: Finding) -> str | None:
    """The continuations of a server that work; None for a part without a choice."""
    if finding.continuation is None or len(finding.modes) < 2:
        return None
    line = f"{finding.part}: continuation {shown_mode(finding.continuation, finding.verdict)} works"
    best, *others = [each for each in finding.modes if each[0] is not finding.continuation]
    if finding.modes[0] == best:
        line += f"; recommended: {shown_mode(*best)}"
    else:
        others = [best, *others]
    return f"{line}; also: {', '.join(shown_mode(*each) for each in others)}" if others else line


def shown_mode(mode: Continuation, verdict: ProbeResult | None) -> str:
    """The mode, with the probe's verdict where it is not plain."""
    return mode.value if verdict is ProbeResult.CONTINUED else f"{mode.value} ({verdict})"
