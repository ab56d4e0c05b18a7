"""The settings of a family in order of cost, from the weak model alone to the strong one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.numerics import sigmoid
from trim.policies.calibrated import ROUTER, read_calibrated_router
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import DelegatingPolicy, Policy
from trim.policies.registry import (
    PRICED_FAMILIES,
    SETTING_FAMILIES,
    TOKEN_FAMILIES,
    parse_file,
    parse_share,
)
from trim.policies.token import TAIL, Tail, parse_tokens

RISING = ("thr", "takeover", "random")
"""Plain families that rewrite more steps at a higher setting."""
SHARE_LOGITS = (-7.0, 7.0)
TOKEN_LOGITS = (-3.0, 10.0)
"""Sampled tokens rarely have a probability below 0.05, and most of a draft's are above 0.999."""
SETTINGS = 41


class Limited(DelegatingPolicy):
    """Another policy with a limit of strong tokens per problem."""

    def __init__(self, policy: Policy, max_strong_tokens: int) -> None:
        self.policy = policy
        self.take_traits(max_strong_tokens=max_strong_tokens)

    @property
    def name(self) -> str:
        return self.policy.name


def policies_by_cost(spec: str) -> tuple[Sequence[Policy], int]:
    """Policies of the family of `spec`, cheapest first, and the index of its own setting.

    The first is the weak model alone and the last the strong model alone: every share of
    strong tokens lies between two neighbours. Settings of plain families and probabilities of
    tokens are evenly spaced in their logit; priced families use their default prices. Of
    `POLICY+tail:P`, the setting of the step policy varies. The limit of a router file holds for
    all of them.

    Raises:
        InvalidInput: a family without an adjustable setting, or an unreadable file.
    """
    if TAIL in spec:
        steps, _, probability = spec.rpartition(TAIL)
        threshold = parse_tokens("tail", probability).threshold
        (weak, *whole, strong), place = policies_by_cost(steps)
        return (weak, *(Tail(each, threshold) for each in whole), strong), place
    family, _, setting = spec.partition(":")
    if family == ROUTER and setting:
        router = read_calibrated_router(Path(setting))
        policies, place = policies_by_cost(router.spec)
        if router.max_strong_tokens is None:
            return policies, place
        return [Limited(each, router.max_strong_tokens) for each in policies], place
    inner: list[Policy]
    if family in RISING:
        own = parse_share(family, setting)
        settings = evenly_spaced(*SHARE_LOGITS)
        inner = [SETTING_FAMILIES[family].at(each) for each in settings]
        index = nearest(settings, own)
    elif family in TOKEN_FAMILIES:
        token = parse_tokens(family, setting)
        settings = evenly_spaced(*TOKEN_LOGITS)
        inner = [replace(token, threshold=each) for each in settings]
        index = nearest(settings, token.threshold)
    elif family in PRICED_FAMILIES and setting:
        path, own_prices = parse_file(family, setting)
        priced = PRICED_FAMILIES[family].open(path)
        inner = list(priced.policies())
        index = nearest(priced.prices, own_prices[0]) if own_prices else len(inner) // 2
    else:
        known = ", ".join((*RISING, *TOKEN_FAMILIES, *PRICED_FAMILIES))
        raise InvalidInput(f"{spec}: no setting to adjust; families with one: {known}")
    return (WeakAlone(), *inner, StrongAlone()), index + 1


def evenly_spaced(lowest: float, highest: float) -> list[float]:
    """Settings in (0, 1), rising, evenly spaced between two logits."""
    logits = np.linspace(lowest, highest, SETTINGS)
    return [float(f"{sigmoid(float(each)):.5g}") for each in logits]


def nearest(settings: Sequence[float], target: float) -> int:
    """Index of the setting nearest to `target`."""
    return min(range(len(settings)), key=lambda index: abs(settings[index] - target))
