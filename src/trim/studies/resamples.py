"""Bootstrap resamples of problems, and intervals from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trim.metrics.intervals import CONFIDENCE
from trim.numerics import random_generator
from trim.studies.sample import Floats

RESAMPLES = 2_000
"""Fewer than for means, as areas are slower; the ends vary by 2 % of the interval's width."""
FEWEST = 10
"""Least number of problems to resample: intervals of fewer are too narrow.

One problem has a single resample, and so an interval of width 0 whatever its solutions.
"""
BATCH = 100
"""Resamples held in memory at once."""


def draw_resamples(problems: int, seed: int = 0) -> Iterator[Floats]:
    """2,000 resamples of the problems, in arrays (100, problems): how often each was drawn.

    The same number of problems and seed always give the same resamples, so differences between
    samples of the same problems are paired.
    """
    random = random_generator(seed)
    for _ in range(RESAMPLES // BATCH):
        drawn = random.multinomial(problems, np.full(problems, 1 / problems), BATCH)
        yield drawn.astype(np.float64)


def interval_of(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval of draws, ignoring NaN."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)
