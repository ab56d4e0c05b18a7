"""The units in which the cost of a policy is read, and CPT and Delta-IBC in each.

On every axis c is the total cost of a policy divided by that of the strong model alone on the same
problems, so the strong model alone costs 1. Where the weak model costs something too, CPT includes
it, and Delta-IBC is measured from it (`trim.metrics.metrics.delta_ibc`). Figures of different axes
are different metrics and are not compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trim.costs import Prices
from trim.evaluation.comparison import Ends, PolicyOutcomes, Weights, interval_of
from trim.metrics import metrics
from trim.metrics.curve import GAINS
from trim.metrics.metrics import Array
from trim.types import Author, Trace

PREFILL = 1.2
"""Cost of a token that the strong model decodes in another model's solution, prefill included, in
tokens that it decodes in its own. TRIM (arXiv 2601.10245) allows for prefill by this factor; which
tokens it multiplies is our reading."""


@dataclass(frozen=True)
class CostAxis:
    """A unit of cost.

    Attributes:
        name: on the command line and in `summary.json`.
        unit: in words.
        of: cost of a trace, not negative; the prices are None if nothing is billed.
        needs_prices: whether the axis is absent without prices.
    """

    name: str
    unit: str
    of: Callable[[Trace, Prices | None], float]
    needs_prices: bool = False


def tokens_with_prefill(trace: Trace) -> float:
    """Strong tokens, times `PREFILL` where another model wrote a part of the solution.

    A solution that the strong model wrote from the start, by itself or after a restart, needs no
    prefill besides the question: its tokens count once, as those of the strong model alone.
    """
    others = (Author.WEAK, Author.INTERMEDIATE)
    shared = any(step.tokens_by(author) for step in trace.steps for author in others)
    return trace.strong_tokens * (PREFILL if shared else 1.0)


def money(trace: Trace, prices: Prices | None) -> float:
    assert prices is not None
    return prices.of(trace)


STRONG_TOKENS = CostAxis(
    "strong-tokens",
    "strong tokens",
    lambda trace, prices: trace.strong_tokens,
)
"""C(q; pi) of TRIM (arXiv 2601.10245): tokens that the strong model decodes. The default."""
AXES = {
    axis.name: axis
    for axis in (
        STRONG_TOKENS,
        CostAxis(
            "tokens-prefill",
            f"strong tokens, {PREFILL:g} each in another model's solution",
            lambda trace, prices: tokens_with_prefill(trace),
        ),
        CostAxis("money", "money", money, needs_prices=True),
        CostAxis(
            "seconds",
            "seconds, waiting for other policies included",
            lambda trace, prices: trace.seconds,
        ),
    )
}


def outcomes(
    settings: Sequence[Sequence[Trace]],
    axis: CostAxis = STRONG_TOKENS,
    prices: Prices | None = None,
) -> PolicyOutcomes:
    """Outcomes of several settings, from their traces in problem order."""
    right = [[bool(trace.correct) for trace in traces] for traces in settings]
    costs = [[axis.of(trace, prices) for trace in traces] for traces in settings]
    return PolicyOutcomes(np.array(right, dtype=np.float64), np.array(costs, dtype=np.float64))


def describe_axes(
    families: Mapping[str, Sequence[Sequence[Trace]]],
    weak: Sequence[Trace],
    strong: Sequence[Trace],
    prices: Prices | None,
    weights: Weights,
) -> dict[str, dict[str, Any]]:
    """CPT and Delta-IBC of each family on each axis (`costs` in docs/summary.schema.json).

    An axis on which the strong model alone costs nothing is left out, as is money without prices.

    Args:
        families: traces of each setting, in problem order.
        weak, strong: the models alone.
        weights: resamples of the problems.
    """
    found: dict[str, dict[str, Any]] = {family: {} for family in families}
    for axis in AXES.values():
        if axis.needs_prices and prices is None:
            continue
        alone = [outcomes([traces], axis, prices) for traces in (weak, strong)]
        ends = Ends.of(alone[0], alone[1], weights)
        sample = Ends.of(alone[0], alone[1], Weights(weights.counts[:1]))
        if not ends.strong_cost[0]:
            continue
        for family, settings in families.items():
            of_family = outcomes(settings, axis, prices)
            measured = ends.benefits(ends.line(of_family))
            costs, gains = sample.line(of_family)
            found[family][axis.name] = {
                "unit": axis.unit,
                "strong_mean": float(ends.strong_cost[0]),
                "weak_share": float(ends.weak_cost[0]),
                **benefits(measured),
                "intervals": {
                    "cpt": {str(gain): bounds(measured[f"cpt {gain}"]) for gain in GAINS},
                    "delta_ibc": bounds(measured["delta_ibc"]),
                },
                "envelope": benefits(sample.benefits((costs, metrics.envelope(costs, gains)))),
            }
    return found


def benefits(values: Mapping[str, Array]) -> dict[str, Any]:
    """The sample's CPT and Delta-IBC; None if undefined or never reached."""

    def figure(name: str) -> float | None:
        value = float(values[name][0])
        return value if np.isfinite(value) else None

    return {
        "cpt": {str(gain): figure(f"cpt {gain}") for gain in GAINS},
        "delta_ibc": figure("delta_ibc"),
    }


def bounds(values: Array) -> list[float] | None:
    found = interval_of(values)
    return None if found is None else list(found)
