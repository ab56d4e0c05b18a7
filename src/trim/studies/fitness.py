"""The fitness of a scorer: AUC-ROC, and the verdict of an audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trim.evaluation.report import percent
from trim.metrics.metrics import FIT, area_under_curve
from trim.studies.detection import FirstRewrites
from trim.studies.reliability import BINS, Reliability
from trim.studies.resamples import FEWEST, draw_resamples, interval_of
from trim.studies.sample import Floats, Sample


@dataclass(frozen=True)
class Area:
    """An AUC-ROC with its 95 % bootstrap interval.

    Attributes:
        count, wrong: number of steps or solutions, and of wrong ones.
        auc: in [0, 1].
        interval: (low, high) from resampled problems.
    """

    count: int
    wrong: int
    auc: float
    interval: tuple[float, float]


def area_of(sample: Sample, seed: int = 0) -> Area | None:
    """The area of a sample; None if all of it is right or all of it is wrong."""
    auc = area_under_curve(sample.right, sample.scores)
    if np.isnan(auc):
        return None
    return Area(len(sample), sample.wrong, auc, interval_of(resampled_areas(sample, seed)))


def area_within(sample: Sample) -> Area | None:
    """The area among pairs of one problem: whether a score tells its solutions apart.

    None if fewer than ten problems have both right and wrong ones. `count` and `wrong` are those
    of the problems that do.
    """
    if not has_area_within(sample):
        return None
    right, wrong, _ = pairs_within(sample)
    mixed = (right > 0) & (wrong > 0)
    found = resampled_within(sample)
    count = int((right + wrong)[mixed].sum())
    return Area(count, int(wrong[mixed].sum()), auc_within(sample), interval_of(found))


def has_area_within(sample: Sample) -> bool:
    """Whether enough problems have both right and wrong ones for `area_within`."""
    mixed = np.intersect1d(sample.problem[sample.right], sample.problem[~sample.right])
    return len(mixed) >= FEWEST


def auc_within(sample: Sample) -> float:
    """AUC-ROC among pairs of one problem; nan without any."""
    right, wrong, won = pairs_within(sample)
    pairs = float((right * wrong).sum())
    return float(won.sum()) / pairs if pairs else float("nan")


def resampled_within(sample: Sample, seed: int = 0) -> Floats:
    """(2000,) `auc_within` of bootstrap resamples of the problems; nan without any pair."""
    right, wrong, won = pairs_within(sample)
    both = np.array([won, right * wrong])
    drawn = np.concatenate([both @ times.T for times in draw_resamples(len(won), seed)], axis=1)
    draws: Floats = np.full_like(drawn[0], np.nan)
    np.divide(drawn[0], drawn[1], out=draws, where=drawn[1] > 0)
    return draws


def pairs_within(sample: Sample) -> tuple[Floats, Floats, Floats]:
    """(P,) numbers of right and of wrong ones of each problem, and of their pairs in order."""
    _, problem = np.unique(sample.problem, return_inverse=True)
    problem = problem.reshape(-1)
    right = np.bincount(problem, weights=sample.right).astype(np.float64)
    wrong = np.bincount(problem, weights=~sample.right).astype(np.float64)
    order = np.argsort(problem, kind="stable")
    areas = [
        area_under_curve(sample.right[places], sample.scores[places])
        for places in np.split(order, np.cumsum(np.bincount(problem))[:-1])
    ]
    return right, wrong, np.nan_to_num(np.array(areas)) * right * wrong


def resampled_areas(sample: Sample, seed: int = 0) -> Floats:
    """(2000,) AUC-ROC of bootstrap resamples of the problems, each with all its steps.

    NaN if a resample is all right or all wrong. The same sample and seed always give the same
    draws.
    """
    problems, problem = np.unique(sample.problem, return_inverse=True)
    order = np.argsort(sample.scores, kind="stable")
    starts = np.flatnonzero(np.diff(sample.scores[order], prepend=-1.0))
    owner, right = problem.reshape(-1)[order], sample.right[order]
    areas = []
    for times in draw_resamples(len(problems), seed):
        weights = times[:, owner]
        above = np.add.reduceat(weights * right, starts, axis=1)
        below = np.add.reduceat(weights * ~right, starts, axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        areas.append(np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.concatenate(areas)


CHANCE = 0.5
"""AUC-ROC of uninformative scores."""
MISCALIBRATED = 1 / BINS
"""Largest acceptable calibration error beyond chance: the width of one bin of the diagram."""

LOWEST = "lowest score of a solution"
"""Name of the area of lowest scores against right answers."""


class Fitness(StrEnum):
    """Recommended use of a scorer."""

    THRESHOLD = "fit for thresholding"
    PLAN = "use the POMDP router"
    NOT = "do not route with it"


@dataclass(frozen=True)
class Judgement:
    """A verdict and its reasons, at least one sentence."""

    verdict: Fitness
    reasons: tuple[str, ...]


def judge(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Judgement:
    """The verdict of the first rule that applies:

    1. Do not route if the interval of the decisive area reaches down to 0.5.
    2. Use the POMDP router, which reads scores through fitted densities and counts steps, if a
       threshold is not safe: the interval of the area of drafts up to the first error or of
       lowest scores reaches below 0.7; or the calibration error, by bins of scores or by step
       number, exceeds chance by more than a tenth; or the best threshold's first rewrite comes
       more often after the first error than on it.
    3. Otherwise the scorer is fit for thresholding.

    Args:
        areas: by name; the decisive one is not None.
        reliability, rewrites: None without labels; their rules are then skipped.
    """
    area = areas[decisive]
    assert area is not None
    if area.interval[0] <= CHANCE:
        reason = f"the AUC-ROC of the {decisive} {format_area(area)} may be {CHANCE}, chance level"
        return Judgement(Fitness.NOT, (reason,))
    unsafe = tuple(_unsafe(areas, decisive, reliability, rewrites))
    if unsafe:
        return Judgement(Fitness.PLAN, unsafe)
    safe = [
        f"the AUC-ROC of the {name} {format_area(found)} is above {FIT}"
        for name, found in _judged(areas, decisive)
    ]
    if reliability:
        safe.append(
            f"the calibration error is {reliability.error:.3f} overall and"
            f" {reliability.error_by_step:.3f} by step number: within {MISCALIBRATED} of chance"
        )
    return Judgement(Fitness.THRESHOLD, tuple(safe))


def _unsafe(
    areas: Mapping[str, Area | None],
    decisive: str,
    reliability: Reliability | None,
    rewrites: FirstRewrites | None,
) -> Iterator[str]:
    """Reasons why a threshold is not safe."""
    for name, area in _judged(areas, decisive):
        if area.interval[0] < FIT:
            below = "is" if area.interval[1] < FIT else "may be"
            yield f"the AUC-ROC of the {name} {format_area(area)} {below} below {FIT}"
    if reliability:
        for error, chance, where in (
            (reliability.error, reliability.chance, "overall"),
            (reliability.error_by_step, reliability.chance_by_step, "by step number"),
        ):
            if error - chance > MISCALIBRATED:
                yield (
                    f"the calibration error is {error:.3f} {where}, {chance:.3f} of it by chance:"
                    f" more than {MISCALIBRATED} beyond chance"
                )
    if rewrites and rewrites.late > rewrites.on_error:
        yield (
            f"at the best threshold {rewrites.threshold:.3g} the first rewrite comes after the"
            f" first error in {percent(rewrites.late)} of the solutions, and on it in"
            f" {percent(rewrites.on_error)}"
        )


def _judged(areas: Mapping[str, Area | None], decisive: str) -> Iterator[tuple[str, Area]]:
    """The known areas that a threshold depends on."""
    for name in dict.fromkeys((decisive, LOWEST)):
        area = areas.get(name)
        if area is not None:
            yield name, area


def format_area(area: Area) -> str:
    low, high = area.interval
    return f"{area.auc:.3f} ({low:.3f}–{high:.3f})"
