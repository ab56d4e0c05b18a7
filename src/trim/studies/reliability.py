"""Whether scores are the probabilities that they look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trim.errors import require_extra
from trim.studies.sample import Booleans, Floats, Integers, Sample

BINS = 10
"""Bins of scores, as in most published reliability diagrams."""


@dataclass(frozen=True)
class Bin:
    """Steps (or solutions) that are looked at together.

    Attributes:
        low, high: the least and the greatest score in it.
        score: mean score.
        right: share of right ones, which is the mean score if that is a probability.
    """

    count: int
    low: float
    high: float
    score: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """How far scores are from probabilities.

    Attributes:
        bins: ten of equal mass, in rising order of scores; equal scores are never parted, so
            there may be fewer.
        error: expected calibration error over `bins`, the mean over all steps of
            |share right - mean score| of their bin (arXiv 1706.04599, equation 3, which has
            bins of equal width).
        error_equal_width: the same over ten bins of equal width.
        error_by_step: the same over the numbers of the steps, with the gap of all steps taken
            off each: how much what a score means depends on where in a solution it stands.
        chance, chance_by_step: what `error` and `error_by_step` would be on average of a
            perfectly calibrated scorer, on as many independent steps.
        brier: mean of (score - right)^2 (Brier 1950): 0 is perfect, 0.25 what 0.5 for all earns.
    """

    bins: tuple[Bin, ...]
    error: float
    error_equal_width: float
    error_by_step: float
    chance: float
    chance_by_step: float
    brier: float


def reliability_of(sample: Sample) -> Reliability:
    """The reliability of at least one score."""
    scores, right = sample.scores, sample.right
    mass, width = equal_mass(scores), equal_width(scores)
    gaps = right - scores
    return Reliability(
        bins=tuple(
            Bin(
                int(chosen.sum()),
                float(scores[chosen].min()),
                float(scores[chosen].max()),
                float(scores[chosen].mean()),
                float(right[chosen].mean()),
            )
            for chosen in (mass == index for index in np.unique(mass))
        ),
        error=calibration_error(gaps, mass),
        error_equal_width=calibration_error(gaps, width),
        error_by_step=calibration_error(gaps - gaps.mean(), sample.step),
        chance=chance_error(scores, mass),
        chance_by_step=chance_error(scores, sample.step),
        brier=float(np.mean(gaps**2)),
    )


def equal_mass(scores: Floats) -> Integers:
    """(n,) bin of each score among `BINS` of equally many; a decile belongs to the bin below."""
    return np.searchsorted(deciles(scores), scores, side="left").astype(np.int64)


def deciles(scores: Floats) -> Floats:
    """The scores that part equally many, rising; fewer than nine where they coincide."""
    found: Floats = np.unique(np.quantile(scores, np.arange(1, BINS) / BINS, method="lower"))
    return found


def equal_width(scores: Floats) -> Integers:
    """(n,) bin of each score among `BINS` of equal width in [0, 1]; 1 is in the last."""
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def calibration_error(gaps: Floats, bins: Integers) -> float:
    """Sum over bins of |sum of the gaps| / n: the mean gap of each bin, weighted by its size."""
    _, place = np.unique(bins, return_inverse=True)
    sums = np.bincount(place.reshape(-1), weights=gaps)
    return float(np.abs(sums).sum() / len(gaps))


def chance_error(scores: Floats, bins: Integers) -> float:
    """Mean of `calibration_error` where each step is right with its score's probability.

    The sum of a bin's gaps is then about normal with variance sum of r (1 - r), and its mean
    magnitude the root of 2 / pi times that.
    """
    _, place = np.unique(bins, return_inverse=True)
    variances = np.bincount(place.reshape(-1), weights=scores * (1 - scores))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(scores))


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
    with require_extra("a test for drift"):
        from scipy.stats import ks_2samp
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
