"""Whether scores are the probabilities that they look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trim.laboratory.sample import Floats, Integers, Sample

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
