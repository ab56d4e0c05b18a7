"""Metrics of routed inference, as pure functions on numbers and arrays.

The metrics of a whole policy family take a *line*: two arrays of shape (points,), `costs`
(share c of the strong model's tokens, strictly increasing from 0) and `gains` (PGR at that
cost, 0 at the first), linear in between. `trim.evaluation.curve` makes one from measured
points.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

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


def cpt(costs: Array, gains: Array, gain: float) -> float:
    """Call-performance threshold: the least cost at which the line first reaches `gain`.

    `gain` is a PGR as a fraction (0.8 for CPT(80 %)). Infinite where it is never reached.
    """
    reached = np.flatnonzero(gains >= gain - ROUNDING)
    if not reached.size:
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(costs[0])
    rise = slice(first - 1, first + 1)
    return float(np.interp(gain, gains[rise], costs[rise]))


def delta_ibc(costs: Array, gains: Array) -> float:
    """How much more a strong token gains than in the strong model alone: 0 is no more, 1 twice.

    With C = c C_s, IBC / IBC_base = ((acc - acc_w) / C) / ((acc_s - acc_w) / C_s) = PGR / c.
    The mean of this ratio less 1, taken at the middle of each of 100 equal regions between
    the two accuracies, with c the least cost that reaches it; a region that is never reached
    counts as no gain at all, -1 (TRIM, arXiv 2601.10245; AutoMix has 100 times this, over
    regions of cost).
    """
    middles = (np.arange(PERFORMANCE_REGIONS) + 0.5) / PERFORMANCE_REGIONS
    least = np.array([cpt(costs, gains, middle) for middle in middles])
    return float(np.mean(middles / least - 1))


def apgr(costs: Array, gains: Array) -> float:
    """Average PGR over costs from 0 to 1 (RouteLLM), the exact integral of the line.

    What lies beyond cost 1 is left out; the line has to have a point at exactly 1.
    """
    within = costs <= 1
    c, g = costs[within], gains[within]
    return float(np.sum(np.diff(c) * (g[:-1] + g[1:]) / 2))


def gain_at(costs: Array, gains: Array, budget: float) -> float:
    """PGR of the line at cost `budget`; not a number outside the line."""
    return float(np.interp(budget, costs, gains, left=math.nan, right=math.nan))
