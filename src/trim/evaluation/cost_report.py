"""What each policy costs in all, and as a ratio to the strong model alone in the same run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trim.costs import Prices, hidden_strong_usage
from trim.evaluation.comparison import Weights, described
from trim.metrics.metrics import Array
from trim.types import Trace

Level = Literal["less", "same", "more"]

OUTCOMES: Mapping[tuple[Level | None, Level], tuple[str, bool | None]] = {
    ("less", "less"): ("routing pays here", True),
    ("less", "same"): ("routing pays here", True),
    ("less", "more"): ("routing saves money and costs time", None),
    ("same", "less"): ("routing saves time at about the same money", True),
    ("same", "same"): ("no difference is shown", None),
    ("same", "more"): ("routing loses here", False),
    ("more", "less"): ("routing saves time and costs money", None),
    ("more", "same"): ("routing loses here", False),
    ("more", "more"): ("routing loses here", False),
    (None, "less"): ("routing saves time here", True),
    (None, "same"): ("no difference in time is shown", None),
    (None, "more"): ("routing loses time here", False),
}
"""What levels of money (None where nothing is billed) and of seconds come to."""


@dataclass(frozen=True)
class AgainstStrong:
    """A way of solving against the strong model alone.

    Attributes:
        money, seconds: a problem, in all. `money` is None where nothing is billed.
        strong_money, strong_seconds: the same of the strong model alone.
        money_interval, seconds_interval: 95 % intervals of the ratios; None where there are none.
    """

    money: float | None
    seconds: float
    strong_money: float | None
    strong_seconds: float
    money_interval: Sequence[float] | None = None
    seconds_interval: Sequence[float] | None = None

    @property
    def levels(self) -> tuple[Level | None, Level]:
        """Of money and of seconds."""
        seconds = level(self.seconds, self.strong_seconds, self.seconds_interval)
        if self.money is None or self.strong_money is None:
            return None, seconds
        return level(self.money, self.strong_money, self.money_interval), seconds

    def told(self, each: str = "") -> str:
        """Both totals beside those of the strong model alone, as the predicate of a sentence.

        Args:
            each: what they are of, as " a problem".
        """
        spent = f"{amount(self.seconds)} s", f"{amount(self.strong_seconds)} s"
        times = times_of(self.seconds, self.strong_seconds, self.seconds_interval)
        alone = "for the strong model alone"
        if self.money is None or self.strong_money is None:
            return f"takes {spent[0]}{each} against {spent[1]} {alone}{times}"
        paid = times_of(self.money, self.strong_money, self.money_interval)
        return (
            f"costs {amount(self.money)}{each} against {amount(self.strong_money)} {alone}{paid}"
            f" and takes {spent[0]} against {spent[1]}{times}"
        )


def level(cost: float, strong: float, interval: Sequence[float] | None) -> Level:
    """Whether a cost is less than that of the strong model alone, as far as is shown."""
    if interval is None or not strong:
        return "less" if cost < strong else "more" if cost > strong else "same"
    low, high = interval
    return "less" if high < 1 else "more" if low > 1 else "same"


def times_of(cost: float, strong: float, interval: Sequence[float] | None) -> str:
    """` (1.46 times, 95 % interval 1.20 to 1.74)`; nothing where the strong model is free."""
    if not strong:
        return ""
    within = "" if interval is None else ", 95 % interval {:.2f} to {:.2f}".format(*interval)
    return f" ({cost / strong:.2f} times{within})"


def whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def amount(value: float) -> str:
    """A number from 0 up with three significant digits, and never in powers of ten."""
    if not value:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def conclude(
    levels: tuple[Level | None, Level], is_as_good: bool = True
) -> tuple[str, bool | None]:
    """What the levels of money and seconds come to, in words, and whether routing pays.

    Args:
        is_as_good: whether the answers are right about as often.
    """
    outcome, pays = OUTCOMES[levels]
    if is_as_good or pays is False:
        return outcome, pays
    if "less" not in levels:
        return "routing loses here", False
    saved = [name for name, found in zip(("money", "time"), levels, strict=True) if found == "less"]
    outcome = f"routing saves {' and '.join(saved)}" if pays else outcome
    return f"{outcome}, with fewer right answers", None


def describe_single(trace: Trace, alone: Trace, prices: Prices | None) -> dict[str, Any]:
    """A solved problem against the strong model alone on it, with the verdict in words."""
    compared = AgainstStrong(
        prices.of(trace) if prices else None,
        trace.seconds,
        prices.of(alone) if prices else None,
        alone.seconds,
    )
    outcome, pays = conclude(compared.levels)
    if failure := trace.failure or alone.failure:
        outcome, pays = f"nothing can be said, for one of them failed ({failure})", None
    answer = f"answering {trace.answer} against {alone.answer}"
    if trace.answer == alone.answer:
        answer = "with the same answer"
    return {
        "answer": alone.answer,
        "strong_tokens": alone.strong_tokens,
        "money": compared.strong_money,
        "seconds": alone.seconds,
        "pays": pays,
        "verdict": f"On this problem {trace.policy} {compared.told()}, {answer}: {outcome}.",
    }


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
