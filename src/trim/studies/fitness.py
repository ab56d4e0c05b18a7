"""From figures to a verdict: what a scorer is fit for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trim.evaluation.report import percent
from trim.metrics.intervals import CONFIDENCE
from trim.metrics.metrics import FIT, area_under_curve
from trim.studies.detection import FirstRewrites
from trim.studies.reliability import BINS, Reliability
from trim.studies.sample import Floats, Sample

RESAMPLES = 2_000
"""Fewer than for means, as an area takes longer; chance moves the ends by 2 % of the width."""
BATCH = 100
"""Resamples held in memory at once."""


@dataclass(frozen=True)
class Area:
    """An AUC-ROC with its 95 % bootstrap interval.

    Attributes:
        count, wrong: on how many steps or solutions it was measured, and how many are wrong.
        auc: in [0, 1].
        interval: (low, high) from resampled problems.
    """

    count: int
    wrong: int
    auc: float
    interval: tuple[float, float]


def area_of(sample: Sample, seed: int = 0) -> Area | None:
    """The area of a sample; None where all of it is right or all of it is wrong."""
    auc = area_under_curve(sample.right, sample.scores)
    if np.isnan(auc):
        return None
    return Area(len(sample), sample.wrong, auc, interval_of(resampled_areas(sample, seed)))


def interval_of(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval of draws, of which nan are left out."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def resampled_areas(sample: Sample, seed: int = 0) -> Floats:
    """(2000,) AUC-ROC of the sample with its problems drawn anew, each with all its steps.

    nan where a draw has only right or only wrong ones. The same sample and seed always give
    the same draws.
    """
    random = np.random.default_rng(seed)
    problems, problem = np.unique(sample.problem, return_inverse=True)
    order = np.argsort(sample.scores, kind="stable")
    starts = np.flatnonzero(np.diff(sample.scores[order], prepend=-1.0))
    owner, right = problem.reshape(-1)[order], sample.right[order]
    areas = []
    for _ in range(RESAMPLES // BATCH):
        times = random.multinomial(len(problems), np.full(len(problems), 1 / len(problems)), BATCH)
        weights = times.astype(np.float64)[:, owner]
        above = np.add.reduceat(weights * right, starts, axis=1)
        below = np.add.reduceat(weights * ~right, starts, axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        areas.append(np.divide(won, pairs, out=np.full(BATCH, np.nan), where=pairs > 0))
    return np.concatenate(areas)


CHANCE = 0.5
"""AUC-ROC of scores that tell nothing."""
MISCALIBRATED = 1 / BINS
"""Calibration error, over chance, of a whole bin of the diagram: a score then means on average
what the next bin's scores say."""

LOWEST = "lowest score of a solution"
"""Name of the area of lowest scores against right answers."""


class Fitness(StrEnum):
    """What to do with a scorer."""

    THRESHOLD = "fit for thresholding"
    PLAN = "use the POMDP router"
    NOT = "do not route with it"


@dataclass(frozen=True)
class Judgement:
    """A verdict and the figures that led to it, a sentence each, at least one."""

    verdict: Fitness
    reasons: tuple[str, ...]


def judge(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Judgement:
    """The first of these rules that holds:

    1. Do not route: the interval of the decisive area reaches down to 0.5.
    2. Use the POMDP router, which reads scores through fitted densities and counts steps, where
       a threshold is not safe: the interval of an area of a step up to the first error or of
       the lowest score reaches below 0.7; or scores are off by more than a tenth on average,
       in bins of scores or of step numbers; or the best threshold's first rewrite comes more
       often after the first error than on it.
    3. Otherwise it is fit for thresholding.

    Args:
        areas: by name; the decisive one is not None.
        reliability, rewrites: None without labels, where their rules do not apply.
    """
    area = areas[decisive]
    assert area is not None, "the decisive area is known"
    if area.interval[0] <= CHANCE:
        reason = f"the AUC-ROC of the {decisive} {shown(area)} may be {CHANCE}, which is chance"
        return Judgement(Fitness.NOT, (reason,))
    unsafe = tuple(_unsafe(areas, decisive, reliability, rewrites))
    if unsafe:
        return Judgement(Fitness.PLAN, unsafe)
    safe = [
        f"the AUC-ROC of the {name} {shown(found)} is above {FIT}"
        for name, found in _judged(areas, decisive)
    ]
    if reliability:
        safe.append(
            f"scores are off by {reliability.error:.3f} on average, and by"
            f" {reliability.error_by_step:.3f} more or less from step number to step number:"
            f" within {MISCALIBRATED} of chance"
        )
    return Judgement(Fitness.THRESHOLD, tuple(safe))


def _unsafe(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Iterator[str]:
    """Why a threshold is not safe."""
    for name, area in _judged(areas, decisive):
        if area.interval[0] < FIT:
            below = "is" if area.interval[1] < FIT else "may be"
            yield f"the AUC-ROC of the {name} {shown(area)} {below} below {FIT}"
    if reliability:
        for error, chance, where in (
            (reliability.error, reliability.chance, "on average"),
            (reliability.error_by_step, reliability.chance_by_step, "by the number of the step"),
        ):
            if error - chance > MISCALIBRATED:
                yield (
                    f"scores are off by {error:.3f} {where}, chance alone explains {chance:.3f}:"
                    f" more than {MISCALIBRATED} too far"
                )
    if rewrites and rewrites.late > rewrites.on_error:
        yield (
            f"at the best threshold {rewrites.threshold:.3g} the first rewrite comes after the"
            f" first error in {percent(rewrites.late)} of the solutions, and on it in"
            f" {percent(rewrites.on_error)}"
        )


def _judged(areas: Mapping[str, Area | None], decisive: str) -> Iterator[tuple[str, Area]]:
    """The areas that a threshold depends on, as far as they are known."""
    for name in dict.fromkeys((decisive, LOWEST)):
        area = areas.get(name)
        if area is not None:
            yield name, area


def shown(area: Area) -> str:
    low, high = area.interval
    return f"{area.auc:.3f} ({low:.3f}–{high:.3f})"
