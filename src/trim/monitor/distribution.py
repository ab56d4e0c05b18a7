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
class Distance:
    """Where two samples differ most.

    Attributes:
        place: a value; the shares of both samples at or below it are furthest apart.
        here, there: those shares in [0, 1], of the new sample and of the old one.
        p_value: of so large a distance or a larger one, if both are of one distribution.
    """

    place: float
    here: float
    there: float
    p_value: float

    @property
    def statistic(self) -> float:
        """The Kolmogorov-Smirnov distance D, in [0, 1]."""
        return abs(self.here - self.there)


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

    def against(self, values: Sequence[float]) -> Distance:
        """The Kolmogorov-Smirnov test of this sample against another, which may not be empty.

        Taken at the places and just below them, the distance is at most a hundredth too small and
        never too large, so the p-value errs towards 1, with ties as well. It is that of
        `scipy.stats.ks_2samp` for large samples n and m: the distribution of the one-sample
        statistic for n m / (n + m) values.
        """
        new = np.sort(values)
        there = np.array(self.counts) / self.size
        here = np.searchsorted(new, self.places, side="right") / len(new)
        # Of this sample less than the next hundredth lies below the next place.
        below = np.concatenate(([0.0], (np.floor(there[:-1] * 100 + 1e-9) + 1) / 100))
        fewer = np.searchsorted(new, self.places, side="left")
        at, under = int(np.abs(here - there).argmax()), int((fewer / len(new) - below).argmax())
        place, shares = self.places[at], (float(here[at]), float(there[at]))
        if fewer[under] / len(new) - below[under] > abs(shares[0] - shares[1]):
            place = float(new[fewer[under] - 1])
            shares = (float(fewer[under] / len(new)), float(below[under]))
        pooled = len(new) * self.size / (len(new) + self.size)
        p_value = kstwo.sf(abs(shares[0] - shares[1]), max(1, round(pooled)))
        return Distance(place, *shares, float(p_value))

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
