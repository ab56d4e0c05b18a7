"""Figures as the cells of a table hold them; what is not defined is a dash."""

from __future__ import annotations

import math

from trim.evaluation.resampling import Estimate

NOTHING = "–"


def percent(value: float | None, decimals: int = 1) -> str:
    """0.123 is `12.3 %`."""
    return number(value if value is None else 100 * value, decimals, " %")


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.{decimals}f}{unit}".replace("-", "−")


def difference(estimate: Estimate, decimals: int = 2, scale: float = 1) -> str:
    """A difference with its interval: `+1.2 (−0.3 to 2.7)`, each times `scale`."""
    if math.isnan(estimate.value):
        return NOTHING
    value, low, high = (scale * figure for figure in (estimate.value, estimate.low, estimate.high))
    sign = "+" if value > 0 else ""
    return f"{sign}{number(value, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


def standing(estimate: Estimate) -> str:
    """Where a difference leaves the first of the two: ahead, level or behind."""
    if math.isnan(estimate.value):
        return "not defined"
    return "ahead" if estimate.ahead else "behind" if estimate.behind else "level"
