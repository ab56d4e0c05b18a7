"""The settings of a family in order, from one that spends nothing to one that spends most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.numerics import sigmoid
from trim.policies.calibrated import FAMILY, read_router_file
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.registry import PRICED, WITH_SHARE, parse_file, parse_share

RISING = ("thr", "takeover", "random")
"""Plain families whose setting rewrites the more, the higher it is."""
HIGHEST_LOG_ODDS = 7.0
STEPS = 41


def sweep(spec: str) -> tuple[Sequence[Policy], int]:
    """Policies of the family of `spec`, and the place of its own setting among them.

    The first is the weak model alone and the last the strong one alone, so that any share lies
    between two of them. Plain families are laid out evenly in log-odds of their setting, priced
    ones by their usual prices.

    Raises:
        InvalidInput: a family without a setting that can be moved, or an unreadable file.
    """
    family, _, setting = spec.partition(":")
    if family == FAMILY and setting:
        return sweep(read_router_file(Path(setting)).spec)
    if family in RISING:
        own = parse_share(family, setting)
        odds = np.linspace(-HIGHEST_LOG_ODDS, HIGHEST_LOG_ODDS, STEPS)
        settings = [float(f"{sigmoid(float(odd)):.5g}") for odd in odds]
        between = [WITH_SHARE[family](each) for each in settings]
        place = nearest(settings, own)
    elif family in PRICED and setting:
        path, own_prices = parse_file(family, setting)
        priced = PRICED[family](path)
        between = list(priced.policies())
        place = nearest(priced.prices, own_prices[0]) if own_prices else len(between) // 2
    else:
        known = ", ".join((*RISING, *PRICED))
        raise InvalidInput(f"{spec}: has no setting that could be moved; these have one: {known}")
    return (WeakAlone(), *between, StrongAlone()), place + 1


def nearest(settings: Sequence[float], wished: float) -> int:
    return min(range(len(settings)), key=lambda index: abs(settings[index] - wished))
