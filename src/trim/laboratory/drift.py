"""Whether scores are still those that a router was fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from trim.laboratory.reliability import deciles
from trim.laboratory.sample import Booleans, Floats, Integers, Sample

PERMUTATIONS = 999
BATCH = 50
"""Permutations held in memory at once."""

SIGNIFICANT = 0.025
"""p-value from which on chance is believed: 5 % for the two comparisons together."""
SHIFTED = 0.1
"""Population stability index from which on a population is said to shift (Siddiqi, Credit Risk
Scorecards, 2006; from 0.25 on it has shifted much)."""


@dataclass(frozen=True)
class Shift:
    """How two sets of scores differ.

    Attributes:
        count, earlier: scores in the audited bank and in the one it is held against.
        statistic: the greatest distance between their distribution functions
            (Kolmogorov-Smirnov), in [0, 1].
        p_value: probability of at least such a distance if nothing has changed.
        stability: population stability index, from 0 up.
    """

    count: int
    earlier: int
    statistic: float
    p_value: float
    stability: float

    @property
    def shifted(self) -> bool:
        """Not by chance alone, and not by so little that it would not matter."""
        return self.p_value < SIGNIFICANT and self.stability >= SHIFTED


def shift_of_firsts(now: Sample, earlier: Sample) -> Shift:
    """Of one score a problem, by the usual test with its limit distribution."""
    test = ks_2samp(now.scores, earlier.scores, method="asymp")
    return Shift(
        len(now),
        len(earlier),
        float(test.statistic),
        float(test.pvalue),
        stability_index(now.scores, earlier.scores),
    )


def shift_of_all(now: Sample, earlier: Sample, seed: int = 0) -> Shift:
    """Of all scores of each problem, tested by dealing whole problems out anew 999 times.

    The usual test takes scores of one problem for independent and finds drift everywhere.
    """
    scores = np.concatenate([now.scores, earlier.scores])
    _, mine = np.unique(now.problem, return_inverse=True)
    _, theirs = np.unique(earlier.problem, return_inverse=True)
    problems, others = int(mine.max()) + 1, int(theirs.max()) + 1
    owner = np.concatenate([mine.reshape(-1), problems + theirs.reshape(-1)])
    order = np.argsort(scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=2.0))
    given = np.arange(problems + others) < problems
    observed = float(distances(given[None], owner[order], ends)[0])
    random = np.random.default_rng(seed)
    larger = 0
    for start in range(0, PERMUTATIONS, BATCH):
        count = min(BATCH, PERMUTATIONS - start)
        dealt = random.permuted(np.tile(given, (count, 1)), axis=1)
        larger += int((distances(dealt, owner[order], ends) >= observed - 1e-12).sum())
    return Shift(
        len(now),
        len(earlier),
        observed,
        (1 + larger) / (1 + PERMUTATIONS),
        stability_index(now.scores, earlier.scores),
    )


def distances(in_first: Booleans, owner: Integers, ends: Integers) -> Floats:
    """Kolmogorov-Smirnov statistics of sorted scores, for several ways to deal out problems.

    Args:
        in_first: (k, problems) whether each problem is in the first of the two sets.
        owner: (n,) problem of each score, in rising order of scores.
        ends: positions of the last of equal scores.
    """
    first = in_first[:, owner].astype(np.float64)
    mine = np.cumsum(first, axis=1)
    theirs = np.cumsum(1 - first, axis=1)
    gaps = mine[:, ends] / mine[:, -1:] - theirs[:, ends] / theirs[:, -1:]
    found: Floats = np.abs(gaps).max(axis=1)
    return found


def stability_index(now: Floats, earlier: Floats) -> float:
    """Sum over bins of (p - q) ln(p / q), p and q the shares of the scores now and earlier.

    The bins part the earlier scores at their deciles. Half a score is added to each bin, so
    that an empty one is not infinitely far.
    """
    edges = deciles(earlier)
    shares = []
    for scores in (now, earlier):
        counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (counts + 0.5).sum())
    p, q = shares
    return float(((p - q) * np.log(p / q)).sum())
