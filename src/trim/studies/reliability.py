"""Calibration of scores as probabilities, and drift between two sets of scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trim.errors import require_extra
from trim.numerics import random_generator
from trim.studies.resamples import draw_resamples
from trim.studies.sample import Booleans, Floats, Integers, Sample

BINS = 10
"""Number of bins of scores, as in most published reliability diagrams."""


@dataclass(frozen=True)
class Bin:
    """A bin of steps (or solutions).

    Attributes:
        low, high: lowest and highest score.
        score: mean score.
        right: share of right ones; equals the mean score of calibrated scores.
    """

    count: int
    low: float
    high: float
    score: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """Calibration of scores.

    Attributes:
        bins: ten of equal mass, in ascending order of scores; equal scores share a bin, so there
            may be fewer.
        error: expected calibration error over `bins`, the mean over all steps of
            |share right - mean score| of their bin (arXiv 1706.04599, equation 3, which has
            bins of equal width).
        error_equal_width: the same over ten bins of equal width.
        error_by_step: the same over step numbers, after subtracting the overall gap from each:
            how much the meaning of a score depends on its position in a solution.
        chance, chance_by_step: expected `error` and `error_by_step` of a perfectly calibrated
            scorer on as many independent steps.
        brier: mean of (score - right)^2 (Brier 1950): 0 is perfect, a constant score of 0.5 has
            0.25.
    """

    bins: tuple[Bin, ...]
    error: float
    error_equal_width: float
    error_by_step: float
    chance: float
    chance_by_step: float
    brier: float


def reliability_of(sample: Sample) -> Reliability:
    """The reliability of a non-empty sample."""
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


def resampled_errors(sample: Sample) -> Floats:
    """(2, 2000) `Reliability.error` and `brier` of bootstrap resamples of the problems.

    The bins stay those of the sample. Resampling adds noise to each bin, so the draws of `error`
    lie above it if it is close to chance.
    """
    _, problem = np.unique(sample.problem, return_inverse=True)
    _, place = np.unique(equal_mass(sample.scores), return_inverse=True)
    problem, place = problem.reshape(-1), place.reshape(-1)
    shape = int(problem.max()) + 1, int(place.max()) + 1
    gaps = sample.right - sample.scores
    of_bins = np.zeros(shape)
    np.add.at(of_bins, (problem, place), gaps)
    counts = np.bincount(problem)
    squares = np.bincount(problem, weights=gaps**2)
    draws = [
        np.stack([np.abs(times @ of_bins).sum(axis=1), times @ squares]) / (times @ counts)
        for times in draw_resamples(shape[0])
    ]
    return np.concatenate(draws, axis=1)


def equal_mass(scores: Floats) -> Integers:
    """(n,) index of each score's bin among `BINS` of equal mass, deciles in the lower bin."""
    return np.searchsorted(deciles(scores), scores, side="left").astype(np.int64)


def deciles(scores: Floats) -> Floats:
    """The deciles in ascending order; fewer than nine if some coincide."""
    found: Floats = np.unique(np.quantile(scores, np.arange(1, BINS) / BINS, method="lower"))
    return found


def equal_width(scores: Floats) -> Integers:
    """(n,) index of each score's bin among `BINS` of equal width in [0, 1]; 1 is in the last."""
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def calibration_error(gaps: Floats, bins: Integers) -> float:
    """Sum over bins of |sum of the gaps| / n: the mean gap of each bin, weighted by its size."""
    _, place = np.unique(bins, return_inverse=True)
    sums = np.bincount(place.reshape(-1), weights=gaps)
    return float(np.abs(sums).sum() / len(gaps))


def chance_error(scores: Floats, bins: Integers) -> float:
    """Expected `calibration_error` if each step is right with its score as probability.

    The sum of a bin's gaps is then approximately normal with variance v = sum of r (1 - r), and
    its mean magnitude is sqrt(2 v / pi).
    """
    _, place = np.unique(bins, return_inverse=True)
    variances = np.bincount(place.reshape(-1), weights=scores * (1 - scores))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(scores))


PERMUTATIONS = 999
BATCH = 50
"""Permutations held in memory at once."""

SIGNIFICANT = 0.025
"""Significance level of each of the two comparisons, 5 % together."""
SHIFTED = 0.1
"""Population stability index of a shift (Siddiqi, Credit Risk Scorecards, 2006; 0.25 is a large
shift)."""


@dataclass(frozen=True)
class Shift:
    """Difference between two sets of scores.

    Attributes:
        count, earlier: number of scores in the audited and in the earlier bank.
        statistic: largest distance between their distribution functions (Kolmogorov-Smirnov),
            in [0, 1].
        p_value: probability of at least this distance without a change.
        stability: population stability index, non-negative.
    """

    count: int
    earlier: int
    statistic: float
    p_value: float
    stability: float

    @property
    def shifted(self) -> bool:
        """Whether the difference is significant and large enough to matter."""
        return self.p_value < SIGNIFICANT and self.stability >= SHIFTED


def shift_of_firsts(now: Sample, earlier: Sample) -> Shift:
    """Shift between samples of one score per problem, by the asymptotic two-sample test."""
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
    """Shift between samples of all scores, by a permutation test over problems (999 permutations).

    The usual test assumes that scores of one problem are independent, and finds drift everywhere.
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
    random = random_generator(seed)
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
    """(k,) Kolmogorov-Smirnov statistics of sorted scores, for k assignments of problems.

    Args:
        in_first: (k, problems) whether each problem is in the first of the two sets.
        owner: (n,) problem of each score, in ascending order of scores.
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

    The bins end at the deciles of the earlier scores. Half a score is added to each bin, which
    keeps the index finite for empty bins.
    """
    edges = deciles(earlier)
    shares = []
    for scores in (now, earlier):
        counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (counts + 0.5).sum())
    p, q = shares
    return float(((p - q) * np.log(p / q)).sum())
