"""Calibration: the most expensive setting within a budget, or the cheapest accurate one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from trim.errors import InvalidInput
from trim.rollouts.calibration.bounds import betting_upper
from trim.rollouts.calibration.guarantee import Guarantee, percentage
from trim.rollouts.calibration.outcomes import (
    Baselines,
    ReplayEvaluator,
    ReplayOutcomes,
    outcomes_of_replays,
)
from trim.rollouts.calibration.sweep import Sweep
from trim.rollouts.replay import Replayed

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
    """Choose the setting of a family by its outcomes on a bank.

    Raises:
        InvalidInput: there are too few problems, or no setting satisfies the guarantee.
    """
    return compare(evaluator, [sweep], guarantee).best.calibration


@dataclass(frozen=True)
class CalibratedFamily:
    """A family and its chosen setting."""

    sweep: Sweep
    calibration: Calibration


@dataclass(frozen=True)
class Comparison:
    """The calibrations of several families.

    Attributes:
        confidence: with which each of them was calibrated.
        families: those with a setting that satisfies the guarantee; at least one.
        failed: the others.
        best: one of `families`.
    """

    confidence: float
    families: tuple[CalibratedFamily, ...]
    failed: tuple[Sweep, ...]
    best: CalibratedFamily


def compare(
    evaluator: ReplayEvaluator, sweeps: Sequence[Sweep], guarantee: Guarantee
) -> Comparison:
    """Choose the setting of each of several families, and the best of them.

    Each of k families is calibrated at level (1 - confidence) / k (Bonferroni). With the confidence
    of the guarantee, the chosen settings of all families satisfy it together, so the best one
    (`Guarantee.preference`) may be chosen by its outcomes on the same bank.

    Raises:
        InvalidInput: there are too few problems, or no setting satisfies the guarantee.
    """
    count = len(evaluator.bank.problems)
    if count < MIN_PROBLEMS:
        raise InvalidInput(
            f"{count} problems are too few for a guarantee; collect at least {MIN_PROBLEMS},"
            " better some hundred"
        )
    each = guarantee
    if len(sweeps) > 1:
        each = replace(guarantee, confidence=1 - (1 - guarantee.confidence) / len(sweeps))
    found = [(sweep, find_setting(evaluator, sweep, each)) for sweep in sweeps]
    families = tuple(CalibratedFamily(sweep, chosen) for sweep, chosen in found if chosen)
    if not families:
        raise InvalidInput(
            f"no setting of {', '.join(sweep.name for sweep in sweeps)} keeps {guarantee.target}"
            f" {guarantee.value:g} with {percentage(guarantee.confidence)} confidence on {count}"
            " problems: relax the target, or collect a larger bank"
        )
    return Comparison(
        each.confidence,
        families,
        tuple(sweep for sweep, chosen in found if not chosen),
        min(families, key=lambda family: guarantee.preference(family.calibration.outcomes)),
    )


def find_setting(
    evaluator: ReplayEvaluator, sweep: Sweep, guarantee: Guarantee
) -> Calibration | None:
    """The chosen setting of a family; None if none satisfies the guarantee."""
    baselines, kind = evaluator.baselines, evaluator.bank.identity.scorer
    candidates = (
        ((setting, replays, outcomes), outcomes)
        for setting, policy in sweep.policies(guarantee.most_expensive_first)
        for replays in [evaluator.replays(policy, sweep.sha256)]
        for outcomes in [outcomes_of_replays(replays, kind, evaluator.prices)]
    )
    found = choose(guarantee, candidates, baselines)
    if found is None:
        return None
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
