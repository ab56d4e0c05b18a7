"""Area under the ROC curve, and what chance in the choice of problems does to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from trim.evaluation.intervals import CONFIDENCE
from trim.laboratory.sample import Booleans, Floats, Sample

RESAMPLES = 2_000
"""Fewer than for means, as an area takes longer; chance moves the ends by 2 % of the width."""
BATCH = 100
"""Resamples held in memory at once."""


def area_under_curve(right: Booleans, scores: Floats) -> float:
    """AUC-ROC: the probability that a right one scores higher than a wrong one.

    By ranks, ties averaged: (sum of the right ones' ranks - m (m + 1) / 2) / (m k) for m right
    and k wrong ones, which is the Mann-Whitney U over the number of pairs; nan where one of
    the groups is empty.
    """
    chosen = np.asarray(right, dtype=np.bool_)
    m = int(chosen.sum())
    k = len(chosen) - m
    if not m or not k:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[chosen].sum() - m * (m + 1) / 2) / (m * k))


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
