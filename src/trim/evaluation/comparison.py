"""Comparing policy families on the same problems: metrics with paired bootstrap intervals.

Problems are resampled with the outcomes of all policies, and each metric of
`trim.metrics.curve.Curve` is computed again from each resample. All families share the
resamples, so difficulty that two families share does not widen the interval of their difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.metrics import metrics
from trim.metrics.curve import BUDGETS, GAINS, interpolate
from trim.metrics.intervals import CONFIDENCE
from trim.metrics.metrics import Array
from trim.numerics import random_generator

RESAMPLES = 1000
QUERY_LEVEL = ("cascade", "classifier", "classifier-embedding", "automix", "automix-prm")
"""Families that route whole problems."""

THRESHOLD = "thr"
STRIDE = 0.005
"""Step between the budgets at which two curves are compared."""


@dataclass(frozen=True)
class PolicyOutcomes:
    """Outcomes of the settings of a family on n problems.

    Attributes:
        correct: (settings, n), 1 for a right answer, else 0.
        costs: (settings, n) in the unit of one axis (`trim.evaluation.cost_axes`).
    """

    correct: Array
    costs: Array


@dataclass(frozen=True)
class Weights:
    """Bootstrap weights of the problems.

    Attributes:
        counts: (1 + resamples, n) how often each problem counts; the first row, all ones, is the
            sample itself, so figures computed from the weights start with the sample's.
    """

    counts: Array

    @staticmethod
    def draw(problems: int, resamples: int = RESAMPLES, seed: int = 0) -> Weights:
        random = random_generator(seed)
        drawn = random.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
        return Weights(np.vstack([np.ones(problems), drawn]))

    def means(self, values: Array) -> Array:
        """(1 + resamples, settings) means of `values`, (settings, n)."""
        return np.asarray(self.counts @ values.T / self.counts.shape[1])


@dataclass(frozen=True)
class Figures:
    """The metrics of one family in the sample and in each resample; NaN if undefined.

    Attributes:
        values: (1 + resamples,) by name (`cpt 50`, `delta_ibc`, `apgr`, `accuracy 10`).
        accuracies: (1 + resamples, budgets) accuracies on the curve at `budgets()`.
        line: costs and accuracies of the curve, each (1 + resamples, points).
    """

    values: Mapping[str, Array]
    accuracies: Array
    line: tuple[Array, Array] | None = None

    def accuracy_at(self, shares: Sequence[float]) -> Array:
        """(1 + resamples, shares) accuracies on the curve at costs c in [0, 1]."""
        assert self.line is not None
        return np.minimum(1.0, metrics.gain_at(*self.line, np.array(shares)))


@dataclass(frozen=True)
class Ends:
    """The weak and the strong model alone, in the sample and in each resample.

    Attributes:
        weak_accuracy, strong_accuracy: (1 + resamples,).
        weak_cost: of the weak model alone, as a share of the strong model's.
        strong_cost: in the unit of the axis, per problem.
        defined: whether the strong model is better, and costs something.
    """

    weights: Weights
    weak_accuracy: Array
    strong_accuracy: Array
    weak_cost: Array
    strong_cost: Array
    defined: NDArray[np.bool_]

    @staticmethod
    def of(weak: PolicyOutcomes, strong: PolicyOutcomes, weights: Weights) -> Ends:
        """Args: as of `figures_of`."""
        right, strong_right = (weights.means(alone.correct)[:, 0] for alone in (weak, strong))
        cost, strong_cost = (weights.means(alone.costs)[:, 0] for alone in (weak, strong))
        share = np.divide(cost, strong_cost, out=np.zeros_like(cost), where=strong_cost > 0)
        defined = (strong_right > right) & (strong_cost > 0)
        return Ends(weights, right, strong_right, share, strong_cost, defined)

    def line(self, family: PolicyOutcomes) -> tuple[Array, Array]:
        """Costs and gains of a family's curve, where defined."""
        return interpolate(
            self.weights.means(family.costs)[self.defined] / self.strong_cost[self.defined, None],
            self.weights.means(family.correct)[self.defined],
            self.weak_accuracy[self.defined],
            self.strong_accuracy[self.defined],
            self.weak_cost[self.defined],
        )

    def spread(self, values: Array) -> Array:
        """Values of all resamples from those where defined; NaN elsewhere."""
        everywhere = np.full((len(self.defined), *values.shape[1:]), np.nan)
        everywhere[self.defined] = values
        return everywhere

    def accuracies(self, gains: Array) -> Array:
        """(1 + resamples, k) accuracies from gains where defined."""
        weak = self.weak_accuracy[self.defined, None]
        gap = self.strong_accuracy[self.defined, None] - weak
        return self.spread(np.minimum(1.0, weak + gains * gap))

    def benefits(self, line: tuple[Array, Array]) -> dict[str, Array]:
        """CPT and Delta-IBC, (1 + resamples,) by name, of a line where defined."""
        least = metrics.cpt(*line, np.array(GAINS) / 100)
        found = metrics.delta_ibc(*line, self.weak_cost[self.defined])
        return {
            **{f"cpt {gain}": self.spread(least[:, i]) for i, gain in enumerate(GAINS)},
            "delta_ibc": self.spread(found),
        }


def figures_of(
    families: Mapping[str, PolicyOutcomes],
    weak: PolicyOutcomes,
    strong: PolicyOutcomes,
    weights: Weights,
) -> dict[str, Figures]:
    """The figures of each family, on the same resamples.

    Args:
        weak, strong: the models alone, each with one setting, on the families' n problems.
    """
    ends = Ends.of(weak, strong, weights)
    found = {}
    for family, outcomes in families.items():
        line = ends.line(outcomes)
        within = ends.accuracies(metrics.gain_at(*line, np.array(BUDGETS) / 100))
        values = {
            **ends.benefits(line),
            "apgr": ends.spread(metrics.apgr(*line)),
            **{f"accuracy {budget}": within[:, i] for i, budget in enumerate(BUDGETS)},
        }
        costs, gains = line
        found[family] = Figures(
            values,
            ends.accuracies(metrics.gain_at(*line, budgets())),
            (ends.spread(costs), ends.accuracies(gains)),
        )
    return found


def budgets() -> Array:
    """Strong shares from 0 to 1 at which curves are compared."""
    return np.linspace(0, 1, round(1 / STRIDE) + 1)


def interval_of(values: Array) -> tuple[float, float] | None:
    """95 % percentile interval of the resamples in `values`; the first value is the sample's.

    None if the sample's value is NaN, or so many resamples are NaN that they could hide one end
    of the interval.
    """
    tail = (1 - CONFIDENCE) / 2
    missing = undefined_count(values)
    if np.isnan(values[0]) or missing > tail * (len(values) - 1):
        return None
    low, high = np.nanquantile(values[1:], [tail, 1 - tail]) if len(values) > 1 else values[[0, 0]]
    return float(low), float(high)


def direction(values: Array) -> str:
    """Sign of a difference a - b by its interval: `ahead`, `behind`, `level` or `not defined`."""
    interval = interval_of(values)
    if interval is None:
        return "not defined"
    low, high = interval
    return "ahead" if low > 0 else "behind" if high < 0 else "level"


def undefined_count(values: Array) -> int:
    """Number of resamples with an undefined value."""
    return int(np.isnan(values[1:]).sum())


def with_interval(values: Array) -> dict[str, Any]:
    """A value with its interval, as in `docs/summary.schema.json`."""
    interval = interval_of(values)
    return {
        "value": None if np.isnan(values[0]) else float(values[0]),
        "interval": None if interval is None else list(interval),
        "resamples_without": undefined_count(values),
    }


def describe_intervals(figures: Figures) -> dict[str, Any]:
    """Intervals of a family's metrics, by the names of `Curve.summary`."""

    def interval(name: str) -> list[float] | None:
        found = interval_of(figures.values[name])
        return None if found is None else list(found)

    return {
        "cpt": {str(gain): interval(f"cpt {gain}") for gain in GAINS},
        "delta_ibc": interval("delta_ibc"),
        "apgr": interval("apgr"),
        "budgeted_accuracy": {str(budget): interval(f"accuracy {budget}") for budget in BUDGETS},
        "resamples": len(figures.values["apgr"]) - 1,
        "resamples_without": undefined_count(figures.values["apgr"]),
    }


def compare(a: Figures, b: Figures) -> dict[str, Any]:
    """Family a against b: differences a - b, the ratio of Delta-IBC, and the worst shortfall.

    The ratio is defined if b's Delta-IBC is positive.
    """

    def difference(name: str) -> dict[str, Any]:
        return with_interval(a.values[name] - b.values[name])

    base = b.values["delta_ibc"]
    ratio = a.values["delta_ibc"] / np.where(base > 0, base, np.nan)
    return {
        "cpt": {str(gain): difference(f"cpt {gain}") for gain in GAINS},
        "delta_ibc": difference("delta_ibc"),
        "delta_ibc_ratio": with_interval(ratio),
        "apgr": difference("apgr"),
        "budgeted_accuracy": {str(budget): difference(f"accuracy {budget}") for budget in BUDGETS},
        "shortfall": shortfall(a, b),
    }


def shortfall(a: Figures, b: Figures) -> dict[str, Any]:
    """The largest distance of a's curve below b's, in accuracy, over budgets from 0 to 1.

    The largest of many differences is above 0 by chance in nearly every resample. The interval
    therefore comes from a simultaneous band, of the same width at all budgets, that contains the
    whole difference curve in 95 % of the resamples; it is conservative. If it starts at 0, no
    shortfall is shown at any budget; its end bounds the shortfall.

    Returns:
        `value`, at least 0; `budget`, the strong share c where it occurs; `interval`;
        `resamples_without`.
    """
    behind = b.accuracies - a.accuracies
    undefined = undefined_count(behind[:, 0])
    if np.isnan(behind[0, 0]):
        return {"value": None, "budget": None, "interval": None, "resamples_without": undefined}
    place = int(np.argmax(behind[0]))
    largest = float(behind[0, place])
    strays = np.abs(behind - behind[0]).max(axis=1)
    interval = None
    if undefined <= (1 - CONFIDENCE) / 2 * (len(behind) - 1):
        width = float(np.nanquantile(strays[1:], CONFIDENCE)) if len(behind) > 1 else 0.0
        interval = [max(0.0, largest - width), largest + width]
    return {
        "value": largest,
        "budget": float(budgets()[place]),
        "interval": interval,
        "resamples_without": undefined,
    }


def kind_of(family: str) -> str:
    """The family without the name of its file: `agg` of `agg(chain)`."""
    return family.partition("(")[0]


def rivals_of(figures: Mapping[str, Figures]) -> list[str]:
    """The families that all others are compared with: `thr` and the best query-level family.

    The best has the highest Delta-IBC in the sample.
    """
    found = [family for family in figures if family == THRESHOLD]
    queries = {
        family: float(figures[family].values["delta_ibc"][0])
        for family in figures
        if kind_of(family) in QUERY_LEVEL
    }
    return [*found, *([max(queries, key=queries.__getitem__)] if queries else [])]


def describe_comparisons(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Every family against `thr` and against the best query-level family."""
    return [
        {"a": family, "b": rival, **compare(figures[family], figures[rival])}
        for rival in rivals_of(figures)
        for family in figures
        if family != rival
    ]
