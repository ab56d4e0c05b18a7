"""How sure the figures of whole curves are: the problems are drawn anew, for all policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trim.evaluation.curve import Curve
from trim.evaluation.intervals import CONFIDENCE
from trim.evaluation.metrics import Array
from trim.evaluation.outcomes import Outcomes

RESAMPLES = 500
Figures = Callable[[Curve], Sequence[float | None]]
"""What is read off a curve."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % percentile bootstrap interval; nan where it is not defined."""

    value: float
    low: float
    high: float

    @property
    def behind(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.high < 0

    @property
    def ahead(self) -> bool:
        return self.low > 0


@dataclass(frozen=True)
class Resampled:
    """F figures of the curve of each family, and the same on the problems drawn anew.

    Every draw is the same for all families, so that what they find hard alike does not
    widen the interval of a difference.

    Attributes:
        measured: (F,) by family; nan where the curve has no such figure.
        redrawn: (resamples, F) by family.
    """

    measured: Mapping[str, Array]
    redrawn: Mapping[str, Array]

    def estimates(self, family: str) -> list[Estimate]:
        return list(_estimates(self.measured[family], self.redrawn[family]))

    def differences(self, a: str, b: str) -> list[Estimate]:
        """Of each figure, family `a` less family `b`."""
        return list(
            _estimates(
                self.measured[a] - self.measured[b],
                self.redrawn[a] - self.redrawn[b],
            )
        )


def resample(
    outcomes: Outcomes, figures: Figures, seed: int = 0, resamples: int = RESAMPLES
) -> Resampled:
    """Read `figures` off every curve, as measured and on problems drawn with replacement.

    The same outcomes and seed always give the same result.
    """
    count = outcomes.right.shape[1]
    random = np.random.default_rng(seed)
    weights = random.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    drawn = [outcomes.curves(row) for row in weights]
    return Resampled(
        {family: _read(curve, figures) for family, curve in outcomes.curves().items()},
        {
            family: np.array([_read(curves[family], figures) for curves in drawn])
            for family in outcomes.families
        },
    )


def _read(curve: Curve, figures: Figures) -> Array:
    return np.array([math.nan if value is None else value for value in figures(curve)])


def _estimates(measured: Array, redrawn: Array) -> Iterator[Estimate]:
    tail = 100 * (1 - CONFIDENCE) / 2
    for value, column in zip(measured, redrawn.T, strict=True):
        # Draws in which the strong model is not better have no figure to count.
        defined = column[np.isfinite(column)]
        if math.isnan(value) or not defined.size:
            yield Estimate(math.nan, math.nan, math.nan)
        else:
            low, high = np.percentile(defined, (tail, 100 - tail))
            yield Estimate(float(value), float(low), float(high))
