"""The dearest setting within a budget, or the cheapest that is accurate enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from trim.bank.replay import Replayed
from trim.calibration.bound import betting_upper
from trim.calibration.outcomes import Alone, Arena, Outcomes, outcomes_of
from trim.calibration.promise import Promise
from trim.calibration.sweep import Sweep
from trim.errors import InvalidInput

Setting = TypeVar("Setting")

LEAST_PROBLEMS = 30
"""With fewer, no promise worth having is kept."""


@dataclass(frozen=True)
class Calibration:
    """The chosen setting, and what it does on the bank.

    Attributes:
        walks: its way through each problem.
        bound: the best value that could be promised for it.
        helps: whether it is more accurate than the weak model alone, with the confidence of
            the promise.
    """

    setting: float
    walks: list[Replayed]
    outcomes: Outcomes
    bound: float
    helps: bool


def choose(
    promise: Promise, tried: Iterable[tuple[Setting, Outcomes]], alone: Alone
) -> Setting | None:
    """The last setting before the first that does not keep the promise; None if that is the
    first of all.

    Fixed-sequence testing, as in Learn then Test (Angelopoulos et al., arXiv 2110.01052,
    section 2.2): each setting is a hypothesis that the promise is broken, tested at the level
    1 - confidence in an order that does not depend on the outcomes. The first true one is
    rejected with that probability at most, and whatever comes behind it is not reached
    otherwise, so the choice among any number of settings needs no correction.
    """
    chosen = None
    for setting, outcomes in tried:
        if not promise.is_kept(outcomes, alone):
            break
        chosen = setting
    return chosen


def calibrate(arena: Arena, sweep: Sweep, promise: Promise) -> Calibration:
    """Choose the setting of a family on a bank.

    Raises:
        InvalidInput: too few problems, or no setting keeps the promise.
    """
    count = len(arena.bank.problems)
    if count < LEAST_PROBLEMS:
        raise InvalidInput(
            f"{count} problems are too few to promise anything; collect {LEAST_PROBLEMS} or more,"
            " better some hundred"
        )
    alone, kind = arena.alone, arena.bank.identity.scorer
    tried = (
        ((setting, walks, outcomes), outcomes)
        for setting, policy in sweep.policies(promise.from_dearest)
        for walks in [arena.walks(policy)]
        for outcomes in [outcomes_of(walks, kind, arena.prices)]
    )
    found = choose(promise, tried, alone)
    if found is None:
        raise InvalidInput(
            f"no setting of {sweep.family} keeps {promise.target} {promise.value:g} with"
            f" {promise.confidence:.0%} confidence on {count} problems: promise less, or collect"
            " a larger bank"
        )
    setting, walks, outcomes = found
    return Calibration(
        setting,
        walks,
        outcomes,
        promise.bound(outcomes, alone),
        helps(outcomes, alone, promise.confidence),
    )


def helps(outcomes: Outcomes, alone: Alone, confidence: float) -> bool:
    """Whether more is right than by the weak model alone, on the same problems."""
    losses = np.asarray(alone.weak_correct - outcomes.correct)
    return betting_upper(losses, -1, 1, confidence) < 0
