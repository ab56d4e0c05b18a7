"""Findings about single parts, and the advice that follows from them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from trim.checks.separation import ScorerFitness, Separation
from trim.checks.spans import SpanTrial
from trim.errors import ModelUnavailable, Refused, TrimError
from trim.models.continuation import Continuation
from trim.models.probe import ProbeResult

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """The result of checking one part.

    Attributes:
        reachable: whether it was loaded, or its server answered.
        modes: the continuations that work with the probe's verdicts (`trim.models.probe`), best
            first; empty for a scorer or a plug-in.
        continuation: the configured one; None for a scorer or a plug-in.
        tokens: prompt and completion tokens of one step; None for a scorer.
        cached: prompt tokens of a repeated request that were in the cache; 0 if the server does
            not report them.
        separation: scores of right and wrong steps; None for a model.
        milliseconds: median of a few calls.
        failure: what is wrong and what would be right, in one line; None if the part works.
        spans: how it writes inside a step; None for a scorer.
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
    spans: SpanTrial | None = None

    @property
    def verdict(self) -> ProbeResult | None:
        """The verdict on the configured continuation."""
        return dict(self.modes).get(self.continuation) if self.continuation else None


def failed(finding: Finding, error: TrimError) -> Finding:
    """The finding with the error that ended a check; a server that refuses is reachable."""
    answered = isinstance(error, Refused) or not isinstance(error, ModelUnavailable)
    return replace(finding, reachable=finding.reachable or answered, failure=str(error))


async def timed(
    calls: Iterable[Callable[[], Awaitable[Result]]],
) -> tuple[list[Result], float]:
    """The results of consecutive calls, and the median of their milliseconds."""
    answers, spent = [], []
    for call in calls:
        started = time.perf_counter()
        answers.append(await call())
        spent.append(1000 * (time.perf_counter() - started))
    return answers, statistics.median(spent)


CLOSE = 0.1
"""AUCs that differ by less count as equal: they come from few and different samples."""


@dataclass(frozen=True)
class ScorerAdvice:
    """The recommended scorer.

    Attributes:
        best: its kind; None if none is fit.
        line: the recommendation; None if no scorer could be tried.
    """

    best: str | None
    line: str | None


def scorer_advice(tried: Mapping[str, Separation], configured: str | None) -> ScorerAdvice:
    """The recommendation among the tried scorers (`best_scorer`)."""
    if not tried:
        return ScorerAdvice(None, None)
    best = best_scorer(tried, configured)
    others = {kind: each for kind, each in tried.items() if kind not in (best, configured)}
    shown = ", ".join(f"{kind} ({shown_auc(each)})" for kind, each in others.items())
    also = f"; also tried: {shown}" if shown else ""
    if best is None:
        every = ", ".join(f"{kind} ({shown_auc(each)})" for kind, each in tried.items())
        unclear = any(each.fitness is ScorerFitness.UNCLEAR for each in tried.values())
        why = "there are too few samples" if unclear else "none separates right from wrong steps"
        return ScorerAdvice(
            None,
            f"recommended scorer: none of {every}, as {why}; try a reward model (kind: pooling or"
            " label)",
        )
    line = f"recommended scorer: {best} ({tried[best].auc:.2f} of pairs right)"
    if configured == best:
        return ScorerAdvice(best, f"{line}, as configured{also}")
    known = tried.get(configured) if configured else None
    current = f"{configured} ({shown_auc(known)})" if known else configured or "none"
    return ScorerAdvice(best, f"{line}; configured: {current}{also}")


def best_scorer(tried: Mapping[str, Separation], configured: str | None = None) -> str | None:
    """The fit kind with the largest AUC, or the configured one if it is close; None if none is
    fit."""
    fit = {
        kind: each.auc or 0.0 for kind, each in tried.items() if each.fitness is ScorerFitness.FIT
    }
    best = max(fit, key=lambda kind: fit[kind], default=None)
    close = best and configured in fit and fit[configured] > fit[best] - CLOSE
    return configured if close else best


def shown_auc(separation: Separation) -> str:
    """`0.83`, `0.83?` if it may be chance, or `?` with too few samples."""
    if not separation.enough:
        return "?"
    return f"{separation.auc:.2f}{'?' * (separation.fitness is ScorerFitness.UNCLEAR)}"


def mode_advice(finding: Finding) -> str | None:
    """The continuations that work; None for a part with at most one."""
    if finding.continuation is None or len(finding.modes) < 2:
        return None
    line = f"{finding.part}: continuation {shown_mode(finding.continuation, finding.verdict)} works"
    best, *others = [each for each in finding.modes if each[0] is not finding.continuation]
    if finding.modes[0] == best:
        line += f"; recommended: {shown_mode(*best)}"
    else:
        others = [best, *others]
    return f"{line}; also: {', '.join(shown_mode(*each) for each in others)}" if others else line


def span_advice(finding: Finding) -> str | None:
    """How a model writes inside a step; None for a part that was not tried."""
    return f"{finding.part}: {finding.spans.line}" if finding.spans else None


def shown_mode(mode: Continuation, verdict: ProbeResult | None) -> str:
    """The mode, with the probe's verdict if it is unclear."""
    return mode.value if verdict is ProbeResult.CONTINUED else f"{mode.value} ({verdict})"
