"""The settings of a family in order of cost, from the weak model alone to the strong one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.numerics import sigmoid
from trim.policies.calibrated import ROUTER, read_calibrated_router
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.registry import PRICED_FAMILIES, SETTING_FAMILIES, parse_file, parse_share

RISING = ("thr", "takeover", "random")
"""Plain families that rewrite more steps at a higher setting."""
HIGHEST_LOGIT = 7.0
SETTINGS = 41


def policies_by_cost(spec: str) -> tuple[Sequence[Policy], int]:
    """Policies of the family of `spec`, cheapest first, and the index of its own setting.

    The first is the weak model alone and the last the strong model alone: every share of
    strong tokens lies between two neighbours. Settings of plain families are evenly spaced in
    their logit; priced families use their default prices.

    Raises:
        InvalidInput: a family without an adjustable setting, or an unreadable file.
    """
    family, _, setting = spec.partition(":")
    if family == ROUTER and setting:
        return policies_by_cost(read_calibrated_router(Path(setting)).spec)
    inner: list[Policy]
    if family in RISING:
        own = parse_share(family, setting)
        logits = np.linspace(-HIGHEST_LOGIT, HIGHEST_LOGIT, SETTINGS)
        settings = [float(f"{sigmoid(float(each)):.5g}") for each in logits]
        inner = [SETTING_FAMILIES[family].at(each) for each in settings]
        index = nearest(settings, own)
    elif family in PRICED_FAMILIES and setting:
        path, own_prices = parse_file(family, setting)
        priced = PRICED_FAMILIES[family].open(path)
        inner = list(priced.policies())
        index = nearest(priced.prices, own_prices[0]) if own_prices else len(inner) // 2
    else:
        known = ", ".join((*RISING, *PRICED_FAMILIES))
        raise InvalidInput(f"{spec}: no setting to adjust; families with one: {known}")
    return (WeakAlone(), *inner, StrongAlone()), index + 1


def nearest(settings: Sequence[float], target: float) -> int:
    """Index of the setting nearest to `target`."""
    return min(range(len(settings)), key=lambda index: abs(settings[index] - target))
