"""Figures as the cells of a table hold them; what is not defined is a dash."""

from __future__ import annotations

import math

from trim.evaluation.comparison import interval_of
from trim.evaluation.metrics import Array

NOTHING = "–"


def percent(value: float | None) -> str:
    """0.123 is `12.3 %`."""
    return number(value if value is None else 100 * value, 1, " %")


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.{decimals}f}{unit}".replace("-", "−")


def difference(values: Array, decimals: int = 2, scale: float = 1) -> str:
    """A difference with its interval: `+1.2 (−0.3 to 2.7)`.

    Args:
        values: in the sample and in each resample, as in `trim.evaluation.comparison`.
        scale: multiplies them; 100 is for percentage points.
    """
    value = scale * float(values[0])
    if math.isnan(value):
        return NOTHING
    shown = ("+" if round(value, decimals) > 0 else "") + number(value, decimals)
    interval = interval_of(values)
    if interval is None:
        return shown
    low, high = (number(scale * bound, decimals) for bound in interval)
    return f"{shown} ({low} to {high})"


def standing(values: Array) -> str:
    """Where a difference a - b leaves a: `ahead` or `behind` where its interval says so."""
    interval = interval_of(values)
    if interval is None:
        return "not defined"
    low, high = interval
    return "ahead" if low > 0 else "behind" if high < 0 else "level"
