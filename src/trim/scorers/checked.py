"""Scores from outside are looked at before anything is decided by them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def checked(values: Sequence[float]) -> tuple[float, ...]:
    """The scores as they are.

    Raises:
        ValueError: one is no number, not finite or outside [0, 1].
    """
    for position, value in enumerate(values, 1):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not 0 <= value <= 1:
            raise ValueError(f"score {position} of {len(values)} is {value}, not within [0, 1]")
    return tuple(map(float, values))
