"""Bootstrap intervals of means and of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trim.errors import require_extra
from trim.numerics import random_generator

CONFIDENCE = 0.95
RESAMPLES = 10_000
BATCH = 500
"""Resamples held in memory at once."""

Sample = Sequence[float] | NDArray[np.float64]


def bootstrap_interval(values: Sample, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval (low, high) of the mean of `values`, shape (n,).

    Equal values, or a single one, give an interval of width 0. The same values and seed always
    give the same interval.

    Raises:
        ValueError: `values` is empty or has more than one dimension.
        MissingExtra: SciPy is not installed.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not sample.size:
        raise ValueError(f"values must have shape (n,) with n > 0, not {sample.shape}")
    if np.all(sample == sample[0]):
        return float(sample[0]), float(sample[0])
    with require_extra("an evaluation"):
        from scipy.stats import bootstrap
    interval = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=BATCH,
        method="percentile",
        random_state=random_generator(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_interval(a: Sample, b: Sample, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of mean(a) - mean(b), a[i] and b[i] from the same problem.

    Problems are resampled, so difficulty that a and b share does not widen the interval.

    Raises:
        ValueError: the two differ in length, or are empty.
        MissingExtra: SciPy is not installed.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"paired values must have the same shape, not {first.shape} and {second.shape}"
        )
    return bootstrap_interval(first - second, seed)
