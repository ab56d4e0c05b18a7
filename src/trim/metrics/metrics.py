"""Metrics of routed inference, as pure functions on numbers and arrays.

The metrics of a whole policy family take a *line*: two arrays of shape (points,), `costs`
(share c of the strong model's tokens, rising from 0) and `gains` (PGR at that cost, 0 at the
first; the same at the same cost), linear in between. `trim.metrics.curve` makes one from
measured points. Arrays of shape (lines, points) are as many lines, and every metric then is
an array with one more axis in front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PERFORMANCE_REGIONS = 100
"""Equal parts of the way from the weak to the strong accuracy (TRIM, arXiv 2601.10245)."""

ROUNDING = 1e-9
"""A gain this close counts as reached: half of the gap may come out as 0.49999999999999994."""


def pgr(accuracy: float, weak_accuracy: float, strong_accuracy: float) -> float | None:
    """Performance gap recovered: 0 is the weak model alone, 1 the strong one (RouteLLM).

    May lie outside 0..1. None where the strong model is not better than the weak one.
    """
    gap = strong_accuracy - weak_accuracy
    return (accuracy - weak_accuracy) / gap if gap > 0 else None


def ibc(accuracy: float, weak_accuracy: float, strong_tokens_mean: float) -> float | None:
    """Incremental benefit per cost (AutoMix): accuracy gained per strong token of a problem.

    None where no strong token was spent.
    """
    if strong_tokens_mean <= 0:
        return None
    return (accuracy - weak_accuracy) / strong_tokens_mean


def cpt(costs: Array, gains: Array, gain: ArrayLike) -> Array:
    """Call-performance threshold: the least cost at which the line first reaches `gain`.

    `gain` is a PGR as a fraction (0.8 for CPT(80 %)), or several in an array of shape (k,).
    Infinite where it is never reached.
    """
    wanted = np.asarray(gain, dtype=np.float64)
    highest = np.maximum.accumulate(gains, axis=-1)[..., None, :]
    first = np.sum(highest < wanted.reshape(-1, 1) - ROUNDING, axis=-1)
    after = np.minimum(first, costs.shape[-1] - 1)
    low_cost, low = at(costs, np.maximum(after - 1, 0)), at(gains, np.maximum(after - 1, 0))
    high_cost, high = at(costs, after), at(gains, after)
    rising = high > low
    part = (wanted.reshape(-1) - low) / np.where(rising, high - low, 1.0)
    least = low_cost + np.where(rising, np.minimum(part, 1.0), 1.0) * (high_cost - low_cost)
    found = np.where(first < costs.shape[-1], least, np.inf)
    return found.reshape(costs.shape[:-1] + wanted.shape)


def delta_ibc(costs: Array, gains: Array) -> Array:
    """How much more a strong token gains than in the strong model alone: 0 is no more, 1 twice.

    With C = c C_s, IBC / IBC_base = ((acc - acc_w) / C) / ((acc_s - acc_w) / C_s) = PGR / c.
    The mean of this ratio less 1, taken at the middle of each of 100 equal regions between
    the two accuracies, with c the least cost that reaches it; a region that is never reached
    counts as no gain at all, -1 (TRIM, arXiv 2601.10245; AutoMix has 100 times this, over
    regions of cost).
    """
    middles = (np.arange(PERFORMANCE_REGIONS) + 0.5) / PERFORMANCE_REGIONS
    return np.asarray(np.mean(middles / cpt(costs, gains, middles) - 1, axis=-1))


def apgr(costs: Array, gains: Array) -> Array:
    """Average PGR over costs from 0 to 1 (RouteLLM), the exact integral of the line.

    What lies beyond cost 1 is left out; the line has to have a point at exactly 1.
    """
    areas = np.diff(costs) * (gains[..., :-1] + gains[..., 1:]) / 2
    return np.asarray(np.sum(np.where(costs[..., 1:] <= 1, areas, 0.0), axis=-1))


def gain_at(costs: Array, gains: Array, budget: ArrayLike) -> Array:
    """PGR of the line at cost `budget`, or at several, (k,); not a number outside the line."""
    wanted = np.asarray(budget, dtype=np.float64)
    passed = np.sum(costs[..., None, :] <= wanted.reshape(-1, 1), axis=-1)
    before = np.maximum(passed - 1, 0)
    after = np.minimum(before + 1, costs.shape[-1] - 1)
    low_cost, low = at(costs, before), at(gains, before)
    width = at(costs, after) - low_cost
    part = (wanted.reshape(-1) - low_cost) / np.where(width > 0, width, 1.0)
    found = low + part * (at(gains, after) - low)
    within = (passed > 0) & (wanted.reshape(-1) <= costs[..., -1:])
    return np.where(within, found, np.nan).reshape(costs.shape[:-1] + wanted.shape)


def at(values: Array, index: NDArray[np.intp]) -> Array:
    """Of each line the values at its own indices."""
    return np.take_along_axis(values, index, axis=-1)


def area_under_curve(right: ArrayLike, scores: ArrayLike) -> float:
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
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[chosen].sum() - m * (m + 1) / 2) / (m * k))


FIT = 0.7
"""AUC-ROC below which a scorer is not fit for thresholding (arXiv 2601.10245)."""
