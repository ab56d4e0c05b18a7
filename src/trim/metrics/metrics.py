"""Metrics of routed inference, as pure functions of numbers and arrays.

The metrics of a policy family take a *line*: two arrays of shape (points,), `costs` (ascending,
as a share of what the strong model alone costs: c) and `gains` (PGR at that cost, equal at equal
costs), linear in between. `trim.metrics.curve` makes one from measured points. Arrays of shape
(lines, points) are several lines; every metric then has one more axis in front. The unit of cost
is strong tokens in the paper (TRIM, arXiv 2601.10245); `trim.evaluation.cost_axes` has others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PERFORMANCE_REGIONS = 100
"""Equal regions between the weak and the strong accuracy (TRIM, arXiv 2601.10245)."""

ROUNDING = 1e-9
"""Tolerance for gains: half of the gap may be computed as 0.49999999999999994."""


def pgr(accuracy: float, weak_accuracy: float, strong_accuracy: float) -> float | None:
    """Performance gap recovered: 0 is the weak model alone, 1 the strong one (RouteLLM).

    May lie outside [0, 1]. None if the strong model is not better than the weak one.
    """
    gap = strong_accuracy - weak_accuracy
    return (accuracy - weak_accuracy) / gap if gap > 0 else None


def ibc(
    accuracy: float, weak_accuracy: float, cost_mean: float, weak_cost_mean: float = 0
) -> float | None:
    """Incremental benefit per cost (AutoMix, arXiv 2310.12963): (acc - acc_w) / (C - C_w).

    None if no more was spent than by the weak model alone.

    Args:
        cost_mean: C, per problem; in strong tokens for the method's own metric.
        weak_cost_mean: C_w, of the weak model alone in the same unit; 0 in strong tokens.
    """
    spent = cost_mean - weak_cost_mean
    return (accuracy - weak_accuracy) / spent if spent > 0 else None


def cpt(costs: Array, gains: Array, gain: ArrayLike) -> Array:
    """Call-performance threshold: the least cost at which the line first reaches `gain`.

    `gain` is a PGR as a fraction (0.8 for CPT(80 %)), or several in an array of shape (k,).
    Infinite if the line never reaches it.
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


def delta_ibc(costs: Array, gains: Array, weak_cost: ArrayLike = 0.0) -> Array:
    """Gain per cost relative to the strong model alone, less 1: 0 is equal, 1 is twice.

    With w = C_w / C_s and C = c C_s, IBC / IBC_base = ((acc - acc_w) / (C - C_w)) /
    ((acc_s - acc_w) / (C_s - C_w)) = PGR / ((c - w) / (1 - w)): the origin is the weak model's
    own cost, as in AutoMix. In strong tokens w is 0, and this is PGR / c, the paper's ratio. The
    result is the mean of the ratio - 1 over the midpoints of 100 equal regions between the two
    accuracies, with c the least cost that reaches the midpoint; a region that is never reached
    counts as no gain, -1 (TRIM, arXiv 2601.10245; AutoMix has 100 times this, over regions of
    cost).

    NaN if the strong model alone costs no more than the weak one, or a region is reached at no
    more than the weak model's own cost: the ratio is then not finite.

    Args:
        weak_cost: w, for each line.
    """
    middles = (np.arange(PERFORMANCE_REGIONS) + 0.5) / PERFORMANCE_REGIONS
    origin = np.asarray(weak_cost, dtype=np.float64)[..., None]
    span = np.where(origin < 1, 1 - origin, np.nan)
    spent = (cpt(costs, gains, middles) - origin) / span
    ratios = middles / np.where(spent > 0, spent, np.nan)
    return np.asarray(np.mean(ratios - 1, axis=-1))


def envelope(costs: Array, gains: Array) -> Array:
    """Gains of the line's upper envelope at the same costs, in the shape of `gains`.

    The least concave, non-decreasing function that is nowhere below the line: the upper convex
    hull of its points, flat after the best one (the non-decreasing convex hull of RouterBench,
    arXiv 2403.12031). A router that draws one of two settings for each problem at random reaches
    every point between them on average, so the envelope is attainable; chosen from the measured
    points, it profits from their luck.
    """
    highest = np.maximum.accumulate(gains, axis=-1)
    best = highest.copy()
    for i in range(1, costs.shape[-1] - 1):
        left, right = costs[..., :i, None], costs[..., None, i + 1 :]
        low, high = highest[..., :i, None], highest[..., None, i + 1 :]
        width = right - left
        part = (costs[..., i, None, None] - left) / np.where(width > 0, width, 1.0)
        chords = np.max(low + part * (high - low), axis=(-2, -1))
        best[..., i] = np.maximum(best[..., i], chords)
    return np.asarray(best)


def apgr(costs: Array, gains: Array) -> Array:
    """Average PGR over costs from 0 to 1 (RouteLLM), the exact integral of the line.

    The line must have a point at exactly cost 1; the part beyond is ignored.
    """
    areas = np.diff(costs) * (gains[..., :-1] + gains[..., 1:]) / 2
    return np.asarray(np.sum(np.where(costs[..., 1:] <= 1, areas, 0.0), axis=-1))


def gain_at(costs: Array, gains: Array, budget: ArrayLike) -> Array:
    """PGR of the line at cost `budget`, or at several, (k,); NaN outside the line."""
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
    """The values of each line at that line's indices."""
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
