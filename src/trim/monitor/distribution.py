"""The distribution of a sample, kept at few places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import kstwo

from trim.policies.files import numbers

PLACES = 101
"""Quantiles that are kept: every hundredth."""


@dataclass(frozen=True)
class Distribution:
    """How many values of a sample lie at or below each of its quantiles.

    Attributes:
        places: rising; the sample's quantiles, each once, so values that it holds.
        counts: for each place, the values at or below it. The last is the sample's size.
    """

    places: tuple[float, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Distribution:
        """That of a sample, which may not be empty."""
        ordered = np.sort(values)
        levels = np.linspace(0, 1, PLACES)
        places = np.unique(np.quantile(ordered, levels, method="inverted_cdf"))
        counts = np.searchsorted(ordered, places, side="right")
        return Distribution(tuple(places.tolist()), tuple(counts.tolist()))

    @property
    def size(self) -> int:
        return self.counts[-1]

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    def quantile(self, level: float) -> float:
        """The least place with a share of at least `level` of the values at or below it."""
        return self.places[int(np.searchsorted(self.counts, level * self.size))]

    def distance(self, values: Sequence[float]) -> tuple[float, float]:
        """Two-sample Kolmogorov-Smirnov: the distance D in [0, 1] to `values`, and its p-value.

        D is taken at the places alone, so it is at most a hundredth too small, and never too
        large: the p-value, P(D or more) for two samples of one continuous distribution, errs
        towards 1, with ties as well. It is that of `scipy.stats.ks_2samp` for large samples:
        the distribution of the one-sample D for n m / (n + m) values.
        """
        shares = np.searchsorted(np.sort(values), self.places, side="right") / len(values)
        distance = float(np.abs(shares - np.array(self.counts) / self.size).max())
        pooled = len(values) * self.size / (len(values) + self.size)
        return distance, float(kstwo.sf(distance, max(1, round(pooled))))

    def to_json(self) -> dict[str, Any]:
        return {"places": list(self.places), "counts": list(self.counts)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Distribution:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        places, counts = numbers(record["places"]), numbers(record["counts"])
        if not len(places) == len(counts) > 0:
            raise ValueError(f"{len(places)} places and {len(counts)} counts")
        if not all(low < high for values in (places, counts) for low, high in pairwise(values)):
            raise ValueError("places or counts that do not rise")
        if not all(count >= 1 and count == int(count) for count in counts):
            raise ValueError("counts that are no whole numbers from 1")
        return Distribution(places, tuple(int(count) for count in counts))
