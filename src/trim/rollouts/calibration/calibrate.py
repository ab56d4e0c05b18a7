"""The dearest setting within a budget, or the cheapest that is accurate enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from trim.errors import InvalidInput
from trim.policies.calibrated import fitted_to
from trim.policies.fixed import RandomMix
from trim.policies.policy import Policy
from trim.policies.registry import PRICED
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Threshold
from trim.rollouts.bank import Bank
from trim.rollouts.calibration.bounds import betting_upper
from trim.rollouts.calibration.guarantee import Guarantee
from trim.rollouts.calibration.outcomes import (
    ReplayedSolution,
    ReplayEvaluator,
    ReplayOutcomes,
    outcomes_of,
)
from trim.rollouts.replay import Replayed

SETTINGS = 300
"""Of a family: neighbours then differ by some thousandths of the strong tokens."""

SCORED: dict[str, Callable[[float], Policy]] = {
    "thr": Threshold,
    "random": RandomMix,
    "cascade": Cascade,
}


@dataclass(frozen=True)
class Sweep:
    """A family and its settings.

    Attributes:
        file: of the fitted family; None where nothing is fitted.
        settings: from the one with the least strong tokens to that with the most.
        policy: makes that of a setting.
    """

    family: str
    file: Path | None
    settings: tuple[float, ...]
    policy: Callable[[float], Policy]

    def policies(self, from_dearest: bool = False) -> Iterator[tuple[float, Policy]]:
        """Settings and policies, one by one; from the dearest if so asked."""
        for setting in reversed(self.settings) if from_dearest else self.settings:
            yield setting, self.policy(setting)


def sweep_of(spec: str, bank: Bank) -> Sweep:
    """The sweep that a command-line word names: `thr`, `pomdp:FILE`.

    Raises:
        InvalidInput: an unknown family, a file that is missing, damaged or fitted to other
            scores or models than the bank's.
    """
    family, _, file = spec.partition(":")
    if family in SCORED and not file:
        return Sweep(family, None, spread(family, bank), SCORED[family])
    if family in PRICED and file:
        path = Path(file)
        router = PRICED[family](path)
        refuse_other(family, path, bank)
        return Sweep(family, path, between(router.lowest, router.highest), router.at)
    known = [*SCORED, *(f"{name}:FILE" for name in PRICED)]
    raise InvalidInput(
        f"--policy {spec}: no family with a setting to choose; known: {', '.join(known)}"
    )


def between(lowest: float, highest: float) -> tuple[float, ...]:
    """Prices within a range, evenly by ratio, falling; the only one where there is one."""
    if lowest == highest:
        return (lowest,)
    # Rounded, an end might leave the range.
    inner = np.geomspace(highest, lowest, SETTINGS)[1:-1]
    return tuple(float(f"{price:.4g}") for price in inner)


def spread(family: str, bank: Bank) -> tuple[float, ...]:
    """Settings between which as many scores of the bank lie; 0 is first and 1 last."""
    levels = np.linspace(0, 1, SETTINGS)
    if family == "random":
        return tuple(levels.round(4).tolist())
    if family == "cascade":
        scores = [min(trajectory.scores) for trajectory in bank.trajectories()]
    else:
        scores = [node.draft_score for problem in bank.problems for node in problem.nodes]
    inside = {float(f"{score:.6g}") for score in np.quantile(scores, levels)}
    return tuple(sorted({0.0, *inside, 1.0}))


def refuse_other(family: str, path: Path, bank: Bank) -> None:
    """Raises InvalidInput where a router was fitted to other scores or models."""
    scorer, models = fitted_to(family, path)
    if scorer not in (None, bank.identity.scorer):
        raise InvalidInput(
            f"{path}: fitted to scores {scorer!r}, and the bank's are {bank.identity.scorer!r}"
        )
    if models and models != bank.identity.models:
        raise InvalidInput(f"{path}: fitted to other models than the bank's; fit it anew")


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
    outcomes: ReplayOutcomes
    bound: float
    helps: bool


def choose(
    promise: Guarantee, tried: Iterable[tuple[Setting, ReplayOutcomes]], alone: ReplayedSolution
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


def calibrate(arena: ReplayEvaluator, sweep: Sweep, promise: Guarantee) -> Calibration:
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


def helps(outcomes: ReplayOutcomes, alone: ReplayedSolution, confidence: float) -> bool:
    """Whether more is right than by the weak model alone, on the same problems."""
    losses = np.asarray(alone.weak_correct - outcomes.correct)
    return betting_upper(losses, -1, 1, confidence) < 0
