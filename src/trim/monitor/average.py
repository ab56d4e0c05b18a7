"""The mean of a sample, with what a test of it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trim.policies.files import numbers


@dataclass(frozen=True)
class Average:
    """Mean and spread of `count` independent values.

    Attributes:
        mean: 0 where there are none.
        deviation: their standard deviation (n - 1); 0 where there are less than two.
    """

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    @staticmethod
    def of(values: Sequence[float]) -> Average:
        if not values:
            return Average()
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return Average(len(values), float(np.mean(values)), deviation)

    @property
    def error(self) -> float:
        """Squared standard error of the mean; there has to be a value."""
        return self.deviation**2 / self.count

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "deviation": self.deviation}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Average:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        count, mean, deviation = numbers(record[key] for key in ("count", "mean", "deviation"))
        if not (count >= 0 and count == int(count) and deviation >= 0):
            raise ValueError(f"{count:g} values with a deviation of {deviation:g}")
        return Average(int(count), mean, deviation)
