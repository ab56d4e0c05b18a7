"""What each policy costs in all, and as a ratio to the strong model alone in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trim.evaluation.comparison import Weights, described
from trim.evaluation.metrics import Array
from trim.prices import Prices, hidden_strong_usage
from trim.trace import Trace


def describe_costs(
    traces: Sequence[Trace],
    strong: Sequence[Trace] | None,
    prices: Prices | None,
    weights: Weights,
) -> dict[str, Any]:
    """The fields of a point (docs/summary.schema.json) that count everything.

    Args:
        strong: of the strong model alone, on the same problems; None where it was not run.
        prices: None where nothing is billed.
        weights: resamples of the problems.
    """
    hidden = [hidden_strong_usage(trace) for trace in traces]
    return {
        "seconds_mean": float(seconds(traces).mean()),
        "money_mean": float(money(traces, prices).mean()) if prices else None,
        "hidden_strong_tokens_mean": {
            "read": float(np.mean([used.prompt_tokens for used in hidden])),
            "written": float(np.mean([used.tokens for used in hidden])),
        },
        "against_strong": None
        if strong is None
        else {
            "money": ratio(money(traces, prices), money(strong, prices), weights)
            if prices
            else None,
            "seconds": ratio(seconds(traces), seconds(strong), weights),
        },
    }


def seconds(traces: Sequence[Trace]) -> Array:
    return np.array([trace.seconds for trace in traces], dtype=np.float64)


def money(traces: Sequence[Trace], prices: Prices) -> Array:
    return np.array([prices.of(trace) for trace in traces], dtype=np.float64)


def ratio(cost: Array, strong: Array, weights: Weights) -> dict[str, Any]:
    """The ratio of two sums over the same problems, with its paired bootstrap interval.

    The value is None where the strong model alone costs nothing.

    Args:
        cost, strong: (n,) of each problem, from 0 up.
    """
    above, below = weights.means(np.stack([cost, strong])).T
    return described(np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0))
