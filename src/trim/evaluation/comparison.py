"""Policy families compared on the same problems: metrics with paired bootstrap intervals.

Problems are resampled whole, with all that every policy did on them, and each metric of
`trim.metrics.curve.Curve` is read anew from each resample. Two families always meet the
same resamples, so what both find hard does not widen the interval of their difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trim.metrics import metrics
from trim.metrics.curve import BUDGETS, GAINS, interpolate
from trim.metrics.intervals import CONFIDENCE
from trim.metrics.metrics import Array

RESAMPLES = 1000
QUERY_LEVEL = ("cascade", "classifier", "classifier-embedding", "automix", "automix-prm")
"""Families that choose one model for a whole problem."""

THRESHOLD = "thr"
STRIDE = 0.005
"""Between the budgets at which two curves are compared."""


@dataclass(frozen=True)
class PolicyOutcomes:
    """What the settings of a family did with n problems.

    Attributes:
        correct: (settings, n), 1 where the answer is right, else 0.
        tokens: (settings, n) tokens that the strong model decoded.
    """

    correct: Array
    tokens: Array


@dataclass(frozen=True)
class Weights:
    """How often each problem counts: (1 + resamples, n), in the first row once.

    All that is computed from them has the sample's own figure first.
    """

    counts: Array

    @staticmethod
    def draw(problems: int, resamples: int = RESAMPLES, seed: int = 0) -> Weights:
        random = np.random.default_rng(seed)
        drawn = random.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
        return Weights(np.vstack([np.ones(problems), drawn]))

    def means(self, values: Array) -> Array:
        """(1 + resamples, settings) means of `values`, (settings, n)."""
        return np.asarray(self.counts @ values.T / self.counts.shape[1])


@dataclass(frozen=True)
class Figures:
    """The metrics of one family in the sample and in each resample; not a number where none.

    Attributes:
        values: by name (`cpt 50`, `delta_ibc`, `apgr`, `accuracy 10`), (1 + resamples,).
        accuracies: (1 + resamples, budgets) on the curve, at every `STRIDE` of cost.
    """

    values: Mapping[str, Array]
    accuracies: Array


def figures_of(
    families: Mapping[str, PolicyOutcomes],
    weak: PolicyOutcomes,
    strong: PolicyOutcomes,
    weights: Weights,
) -> dict[str, Figures]:
    """The figures of each family between the models alone, on the same resamples.

    Args:
        weak, strong: each of one setting, on the same n problems as the families.
    """
    weak_accuracy = weights.means(weak.correct)[:, 0]
    strong_accuracy = weights.means(strong.correct)[:, 0]
    strong_tokens = weights.means(strong.tokens)[:, 0]
    defined = (strong_accuracy > weak_accuracy) & (strong_tokens > 0)
    gap = (strong_accuracy - weak_accuracy)[defined]

    def spread(values: Array) -> Array:
        everywhere = np.full((len(defined), *values.shape[1:]), np.nan)
        everywhere[defined] = values
        return everywhere

    def accuracy(gains: Array) -> Array:
        return np.minimum(1.0, weak_accuracy[defined][:, None] + gains * gap[:, None])

    found = {}
    for family, outcomes in families.items():
        line = interpolate(
            weights.means(outcomes.tokens)[defined] / strong_tokens[defined][:, None],
            weights.means(outcomes.correct)[defined],
            weak_accuracy[defined],
            strong_accuracy[defined],
        )
        least = metrics.cpt(*line, np.array(GAINS) / 100)
        within = accuracy(metrics.gain_at(*line, np.array(BUDGETS) / 100))
        values = {
            **{f"cpt {gain}": spread(least[:, i]) for i, gain in enumerate(GAINS)},
            "delta_ibc": spread(metrics.delta_ibc(*line)),
            "apgr": spread(metrics.apgr(*line)),
            **{f"accuracy {budget}": spread(within[:, i]) for i, budget in enumerate(BUDGETS)},
        }
        found[family] = Figures(values, spread(accuracy(metrics.gain_at(*line, budgets()))))
    return found


def budgets() -> Array:
    """Costs from 0 to 1 at which curves are compared."""
    return np.linspace(0, 1, round(1 / STRIDE) + 1)


def interval_of(values: Array) -> tuple[float, float] | None:
    """95 % percentile interval of the resamples in `values`, whose first is the sample.

    None where the sample has no figure, or so many resamples have none that the rest would
    leave out one end of the interval.
    """
    tail = (1 - CONFIDENCE) / 2
    missing = without(values)
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


def without(values: Array) -> int:
    """Resamples that have no figure."""
    return int(np.isnan(values[1:]).sum())


def described(values: Array) -> dict[str, Any]:
    """A figure with its interval, as in `docs/summary.schema.json`."""
    interval = interval_of(values)
    return {
        "value": None if np.isnan(values[0]) else float(values[0]),
        "interval": None if interval is None else list(interval),
        "resamples_without": without(values),
    }


def describe_intervals(figures: Figures) -> dict[str, Any]:
    """Intervals of a family's metrics, by the names that `Curve.summary` gives them."""

    def interval(name: str) -> list[float] | None:
        found = interval_of(figures.values[name])
        return None if found is None else list(found)

    return {
        "cpt": {str(gain): interval(f"cpt {gain}") for gain in GAINS},
        "delta_ibc": interval("delta_ibc"),
        "apgr": interval("apgr"),
        "budgeted_accuracy": {str(budget): interval(f"accuracy {budget}") for budget in BUDGETS},
        "resamples": len(figures.values["apgr"]) - 1,
        "resamples_without": without(figures.values["apgr"]),
    }


def compare(a: Figures, b: Figures) -> dict[str, Any]:
    """Family a against b: differences a - b, the ratio of Delta-IBC, and the worst shortfall.

    The ratio is defined where b's Delta-IBC is positive.
    """

    def difference(name: str) -> dict[str, Any]:
        return described(a.values[name] - b.values[name])

    base = b.values["delta_ibc"]
    ratio = a.values["delta_ibc"] / np.where(base > 0, base, np.nan)
    return {
        "cpt": {str(gain): difference(f"cpt {gain}") for gain in GAINS},
        "delta_ibc": difference("delta_ibc"),
        "delta_ibc_ratio": described(ratio),
        "apgr": difference("apgr"),
        "budgeted_accuracy": {str(budget): difference(f"accuracy {budget}") for budget in BUDGETS},
        "shortfall": shortfall(a, b),
    }


def shortfall(a: Figures, b: Figures) -> dict[str, Any]:
    """How far a's curve is behind b's at most, in accuracy, at any budget from 0 to 1.

    The largest of many differences is above 0 by chance alone, in nearly every resample.
    The interval therefore comes from a band that holds the whole difference of the two
    curves in 95 % of the resamples, of the same width at all budgets; it is too wide rather
    than too narrow. Where it begins at 0, a is not shown to be behind anywhere; it ends at
    the most that a can be behind.

    Returns:
        `value`, at least 0; `budget`, the share c where it is; `interval`;
        `resamples_without`.
    """
    behind = b.accuracies - a.accuracies
    missing = without(behind[:, 0])
    if np.isnan(behind[0, 0]):
        return {"value": None, "budget": None, "interval": None, "resamples_without": missing}
    place = int(np.argmax(behind[0]))
    largest = float(behind[0, place])
    strays = np.abs(behind - behind[0]).max(axis=1)
    interval = None
    if missing <= (1 - CONFIDENCE) / 2 * (len(behind) - 1):
        width = float(np.nanquantile(strays[1:], CONFIDENCE)) if len(behind) > 1 else 0.0
        interval = [max(0.0, largest - width), largest + width]
    return {
        "value": largest,
        "budget": float(budgets()[place]),
        "interval": interval,
        "resamples_without": missing,
    }


def kind_of(family: str) -> str:
    """A family without the name of its file: `agg` of `agg(chain)`."""
    return family.partition("(")[0]


def rivals_of(figures: Mapping[str, Figures]) -> list[str]:
    """Against whom all families are compared: the threshold, and the best query-level rival.

    The best is the one with the highest Delta-IBC in the sample.
    """
    found = [family for family in figures if family == THRESHOLD]
    queries = {
        family: float(figures[family].values["delta_ibc"][0])
        for family in figures
        if kind_of(family) in QUERY_LEVEL
    }
    return [*found, *([max(queries, key=queries.__getitem__)] if queries else [])]


def describe_comparisons(figures: Mapping[str, Figures]) -> list[dict[str, Any]]:
    """Every family against the threshold and against the best query-level rival."""
    return [
        {"a": family, "b": rival, **compare(figures[family], figures[rival])}
        for rival in rivals_of(figures)
        for family in figures
        if family != rival
    ]
