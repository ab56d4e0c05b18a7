"""The cost-accuracy curve of a policy family, and its metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trim.metrics import metrics
from trim.metrics.metrics import Array

GAINS = (50, 80, 95)
"""PGR in percent at which CPT is reported."""

BUDGETS = (10, 15, 20, 25, 30)
"""Costs in percent of the strong model's tokens at which accuracy is reported."""


def best_by_cost(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """(cost, accuracy) points sorted by cost, only the best point at each cost."""
    best: dict[float, float] = {}
    for cost, accuracy in points:
        best[cost] = max(accuracy, best.get(cost, accuracy))
    return sorted(best.items())


def interpolate(
    costs: Array,
    accuracies: Array,
    weak_accuracy: Array,
    strong_accuracy: Array,
    weak_cost: Array,
) -> tuple[Array, Array]:
    """Lines through measured points by the rules of `Curve`, as `trim.metrics.metrics` takes them.

    Args:
        costs, accuracies: (..., points), costs not negative and shares of the strong model's.
        weak_accuracy, strong_accuracy: (...), the first below the second.
        weak_cost: (...), of the weak model alone; 0 in strong tokens.

    Returns:
        Costs and gains, each (..., points + 2). Points that do not count coincide with points
        that do.
    """
    nothing, whole = weak_cost[..., None], np.ones_like(strong_accuracy)
    costs = np.concatenate([nothing, costs, whole[..., None]], axis=-1)
    unspent = np.where(costs[..., 1:-1] != nothing, accuracies, weak_accuracy[..., None])
    ends = weak_accuracy[..., None], strong_accuracy[..., None]
    accuracies = np.concatenate([ends[0], unspent, ends[1]], axis=-1)
    # Sorted by cost; at equal cost the best first.
    order = np.lexsort((-accuracies, costs))
    costs = np.take_along_axis(costs, order, axis=-1)
    accuracies = np.take_along_axis(accuracies, order, axis=-1)
    first = np.diff(costs, axis=-1, prepend=-1.0) > 0
    best = np.maximum.accumulate(np.where(first, np.arange(costs.shape[-1]), 0), axis=-1)
    accuracies = np.take_along_axis(accuracies, best, axis=-1)
    gap = strong_accuracy - weak_accuracy
    return costs, (accuracies - weak_accuracy[..., None]) / gap[..., None]


@dataclass(frozen=True)
class Curve:
    """The settings of one policy family, between the weak and the strong model alone.

    The published definitions do not say how to interpolate between settings. Here, points are
    sorted by cost, with the weak model alone (cost 0) and the strong model alone (cost 1) added.
    At equal cost the best point counts, except at cost 0: a policy that never calls the strong
    model is the weak model and differs from it by chance alone, so only the weak model counts
    there. The curve is linear between neighbours and ends at the last point. A cost above 1
    (many rewrites) is kept as a point, but averages over cost end at 1.

    All metrics are None if the strong model is not better than the weak one.

    Attributes:
        weak_accuracy: accuracy of the weak model alone, in [0, 1].
        strong_accuracy: accuracy of the strong model alone, in [0, 1].
        strong_tokens_mean: tokens per problem that the strong model alone decodes.
        points: (strong share c, accuracy) of each setting.

    Raises:
        ValueError: a cost is negative or not finite.
    """

    weak_accuracy: float
    strong_accuracy: float
    strong_tokens_mean: float
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        for cost, _ in self.points:
            if not (math.isfinite(cost) and cost >= 0):
                raise ValueError(f"cost {cost}: a strong share must be finite and not negative")

    @property
    def envelope(self) -> Curve:
        """The upper envelope of the curve (`trim.metrics.metrics.envelope`)."""
        line = self._line()
        if line is None:
            return self
        costs, gains = line
        gap = self.strong_accuracy - self.weak_accuracy
        reached = self.weak_accuracy + gap * metrics.envelope(costs, gains)
        return replace(self, points=tuple(zip(costs.tolist(), reached.tolist(), strict=True)))

    def cpt(self, gain: float) -> float | None:
        """Least strong share c that reaches PGR `gain` (a fraction); None if none does."""
        line = self._line()
        cost = math.inf if line is None else float(metrics.cpt(*line, gain))
        return cost if math.isfinite(cost) else None

    def cpt_tokens(self, gain: float) -> float | None:
        """`cpt` in strong tokens per problem instead of a share."""
        cost = self.cpt(gain)
        return None if cost is None else cost * self.strong_tokens_mean

    def delta_ibc(self) -> float | None:
        """`trim.metrics.metrics.delta_ibc`, a plain ratio, not a percentage."""
        line = self._line()
        return None if line is None else float(metrics.delta_ibc(*line))

    def apgr(self) -> float | None:
        """Mean PGR over costs from 0 to 1."""
        line = self._line()
        return None if line is None else float(metrics.apgr(*line))

    def at_budget(self, budget: float) -> dict[str, float | None]:
        """`accuracy` and `pgr` at the strong share `budget`, within the curve."""
        line = self._line()
        if line is None:
            return {"accuracy": None, "pgr": None}
        gain = float(metrics.gain_at(*line, budget))
        gap = self.strong_accuracy - self.weak_accuracy
        accuracy = self.weak_accuracy + gain * gap
        return {"accuracy": min(1.0, max(0.0, accuracy)), "pgr": gain}

    def summary(self) -> dict[str, Any]:
        """All metrics by name, and those of the envelope (docs/summary.schema.json)."""
        return {**self._metrics(), "envelope": self.envelope._metrics()}

    def _metrics(self) -> dict[str, Any]:
        return {
            "cpt": {str(gain): self.cpt(gain / 100) for gain in GAINS},
            "delta_ibc": self.delta_ibc(),
            "apgr": self.apgr(),
            "budgeted_accuracy": {str(budget): self.at_budget(budget / 100) for budget in BUDGETS},
        }

    def _line(self) -> tuple[Array, Array] | None:
        """Costs and gains of the interpolated curve, each of shape (points,)."""
        if self.strong_accuracy <= self.weak_accuracy:
            return None
        costs, accuracies = np.array(self.points, dtype=np.float64).reshape(-1, 2).T
        weak, strong = np.array(self.weak_accuracy), np.array(self.strong_accuracy)
        return interpolate(costs, accuracies, weak, strong, np.array(0.0))
