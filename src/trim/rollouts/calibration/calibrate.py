"""Calibration: the most expensive setting within a budget, or the cheapest accurate one."""

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
from trim.policies.registry import PRICED_FAMILIES
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Threshold
from trim.rollouts.bank import Bank
from trim.rollouts.calibration.bounds import betting_upper
from trim.rollouts.calibration.guarantee import Guarantee
from trim.rollouts.calibration.outcomes import (
    Baselines,
    ReplayEvaluator,
    ReplayOutcomes,
    outcomes_of_replays,
)
from trim.rollouts.replay import Replayed

SETTINGS = 300
"""Per family; neighbours differ by a few thousandths of the strong tokens."""

PLAIN_SWEEPS: dict[str, Callable[[float], Policy]] = {
    "thr": Threshold,
    "random": RandomMix,
    "cascade": Cascade,
}


@dataclass(frozen=True)
class Sweep:
    """A family and its settings in order of cost.

    Attributes:
        file: of a fitted family; None for a plain one.
        settings: from the fewest strong tokens to the most.
        policy: makes the policy of a setting.
    """

    family: str
    file: Path | None
    settings: tuple[float, ...]
    policy: Callable[[float], Policy]

    def policies(self, most_expensive_first: bool = False) -> Iterator[tuple[float, Policy]]:
        """Settings and policies, made one by one, from the cheapest or from the most expensive."""
        for setting in reversed(self.settings) if most_expensive_first else self.settings:
            yield setting, self.policy(setting)


def parse_sweep(spec: str, bank: Bank) -> Sweep:
    """The sweep of a command-line word: `thr`, `pomdp:FILE`.

    Raises:
        InvalidInput: the family is unknown, or its file is missing, damaged, or fitted to other
            scores or models than the bank's.
    """
    family, _, file = spec.partition(":")
    if family in PLAIN_SWEEPS and not file:
        return Sweep(family, None, settings_of(family, bank), PLAIN_SWEEPS[family])
    if family in PRICED_FAMILIES and file:
        path = Path(file)
        priced = PRICED_FAMILIES[family].open(path)
        require_same_models(family, path, bank)
        return Sweep(family, path, prices_between(priced.lowest, priced.highest), priced.at)
    known = [*PLAIN_SWEEPS, *(f"{name}:FILE" for name in PRICED_FAMILIES)]
    raise InvalidInput(
        f"--policy {spec}: no family with a setting to calibrate; known: {', '.join(known)}"
    )


def prices_between(lowest: float, highest: float) -> tuple[float, ...]:
    """Prices within a range, falling, with equal ratios; a single one if the range has one."""
    if lowest == highest:
        return (lowest,)
    # Without the ends: rounded, they might leave the range.
    inner = np.geomspace(highest, lowest, SETTINGS)[1:-1]
    return tuple(float(f"{price:.4g}") for price in inner)


def settings_of(family: str, bank: Bank) -> tuple[float, ...]:
    """Settings at quantiles of the bank's scores, rising from 0 to 1."""
    levels = np.linspace(0, 1, SETTINGS)
    if family == "random":
        return tuple(levels.round(4).tolist())
    if family == "cascade":
        scores = [min(trajectory.scores) for trajectory in bank.trajectories()]
    else:
        scores = [node.draft_score for problem in bank.problems for node in problem.nodes]
    inside = {float(f"{score:.6g}") for score in np.quantile(scores, levels)}
    return tuple(sorted({0.0, *inside, 1.0}))


def require_same_models(family: str, path: Path, bank: Bank) -> None:
    """Raises InvalidInput if a router was fitted to other scores or models than the bank's."""
    scorer, models = fitted_to(family, path)
    if scorer not in (None, bank.identity.scorer):
        raise InvalidInput(
            f"{path}: fitted to scores {scorer!r}, and the bank's are {bank.identity.scorer!r}"
        )
    if models and models != bank.identity.models:
        raise InvalidInput(f"{path}: fitted to other models than the bank's; fit it again")


Setting = TypeVar("Setting")

MIN_PROBLEMS = 30
"""Problems needed for a useful guarantee."""


@dataclass(frozen=True)
class Calibration:
    """The chosen setting and its results on the bank.

    Attributes:
        replays: one per problem.
        outcomes: of the replays.
        bound: the best value that could be guaranteed for it.
        improves: whether it is more accurate than the weak model alone, at the confidence of
            the guarantee.
    """

    setting: float
    replays: list[Replayed]
    outcomes: ReplayOutcomes
    bound: float
    improves: bool


def choose(
    guarantee: Guarantee, candidates: Iterable[tuple[Setting, ReplayOutcomes]], baselines: Baselines
) -> Setting | None:
    """The last setting before the first one that fails the guarantee; None if the first fails.

    Fixed-sequence testing, as in Learn then Test (Angelopoulos et al., arXiv 2110.01052,
    section 2.2). The hypothesis of each setting is that the guarantee is violated, tested at
    level 1 - confidence in an order independent of the outcomes. The first true hypothesis is
    rejected with at most that probability, and later ones are tested only after it: no
    correction for the number of settings is needed.
    """
    chosen = None
    for setting, outcomes in candidates:
        if not guarantee.holds(outcomes, baselines):
            break
        chosen = setting
    return chosen


def calibrate(evaluator: ReplayEvaluator, sweep: Sweep, guarantee: Guarantee) -> Calibration:
    """Choose the setting of a family by replay of a bank.

    Raises:
        InvalidInput: there are too few problems, or no setting satisfies the guarantee.
    """
    count = len(evaluator.bank.problems)
    if count < MIN_PROBLEMS:
        raise InvalidInput(
            f"{count} problems are too few for a guarantee; collect at least {MIN_PROBLEMS},"
            " better some hundred"
        )
    baselines, kind = evaluator.baselines, evaluator.bank.identity.scorer
    candidates = (
        ((setting, replays, outcomes), outcomes)
        for setting, policy in sweep.policies(guarantee.most_expensive_first)
        for replays in [evaluator.replays(policy)]
        for outcomes in [outcomes_of_replays(replays, kind, evaluator.prices)]
    )
    found = choose(guarantee, candidates, baselines)
    if found is None:
        raise InvalidInput(
            f"no setting of {sweep.family} keeps {guarantee.target} {guarantee.value:g} with"
            f" {guarantee.confidence:.0%} confidence on {count} problems: relax the target, or"
            " collect a larger bank"
        )
    setting, replays, outcomes = found
    return Calibration(
        setting,
        replays,
        outcomes,
        guarantee.bound(outcomes, baselines),
        improves_on_weak(outcomes, baselines, guarantee.confidence),
    )


def improves_on_weak(outcomes: ReplayOutcomes, baselines: Baselines, confidence: float) -> bool:
    """Whether accuracy is above the weak model's on the same problems, at this confidence."""
    losses = np.asarray(baselines.weak_correct - outcomes.correct)
    return betting_upper(losses, -1, 1, confidence) < 0
