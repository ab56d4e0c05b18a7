"""Which kind of belief serves the POMDP router best on a bank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trim.bank.bank import Bank
from trim.bank.replay import replay
from trim.errors import InvalidInput
from trim.evaluation.curve import Curve
from trim.policies.pomdp import Pomdp
from trim.pomdp.belief import Belief
from trim.pomdp.evidence import evidence_of_bank
from trim.pomdp.fit import fit_evidence
from trim.pomdp.model import PomdpModel
from trim.pomdp.plan import make_plan

FOLDS = 2
EVERY = 2
"""Of the usual sweep's prices, so many are passed over for one that is tried."""
GAP = 5e-3
"""Within which the plans are certified here, in right answers."""


def best_belief(bank: Bank) -> Belief:
    """The kind with the largest APGR; `newest` where a bank is too small or has no rewritten
    steps to tell."""
    if not bank.forest(copies=1).free.any():
        return Belief.NEWEST
    try:
        areas = areas_by_belief(bank)
    except InvalidInput:
        return Belief.NEWEST
    return max(areas, key=lambda kind: (areas[kind], kind is Belief.NEWEST))


def areas_by_belief(bank: Bank) -> Mapping[Belief, float]:
    """APGR of each kind, by replay of each half of a bank with a model of the other half.

    Args:
        bank: with both actions recorded; empty figures come out where no replay is better
            than the weak model.

    Raises:
        InvalidInput: half of the bank holds too few examples to fit a model.
    """
    curves: dict[Belief, list[tuple[float, float]]] = {kind: [] for kind in Belief}
    for fold in range(FOLDS):
        kept = [problem for i, problem in enumerate(bank.problems) if i % FOLDS == fold]
        rest = [problem for i, problem in enumerate(bank.problems) if i % FOLDS != fold]
        model = fit_evidence(evidence_of_bank(replace(bank, problems=tuple(rest))))
        tried = replace(bank, problems=tuple(kept))
        for kind in Belief:
            curves[kind] += points_of(tried, policies(model, kind))
    areas = {}
    for kind, points in curves.items():
        halves = np.array_split(np.array(points), FOLDS)
        areas[kind] = area(bank, [tuple(point) for point in np.mean(halves, axis=0).tolist()])
    return areas


def policies(model: PomdpModel, kind: Belief) -> list[Pomdp]:
    beliefs = model.filter(kind)
    return [
        Pomdp(make_plan(model.problem(price, kind), GAP), beliefs)
        for price in model.prices()[::EVERY]
    ]


def points_of(bank: Bank, tried: Iterable[Pomdp]) -> list[tuple[float, float]]:
    """Mean strong tokens and accuracy of each policy."""
    points = []
    for policy in tried:
        replays = [replay(problem, policy) for problem in bank.problems]
        tokens = float(np.mean([replayed.strong_tokens for replayed in replays]))
        points.append((tokens, float(np.mean([replayed.correct for replayed in replays]))))
    return points


def area(bank: Bank, points: Sequence[tuple[float, ...]]) -> float:
    """APGR of a curve; -inf where it is not defined, as the strong model is no better."""
    weak, strong = (
        float(np.mean([getattr(problem, model).correct for problem in bank.problems]))
        for model in ("weak", "strong")
    )
    tokens = float(np.mean([problem.strong.tokens for problem in bank.problems]))
    if strong <= weak or not tokens:
        return -np.inf
    line = tuple((cost / tokens, accuracy) for cost, accuracy in points)
    found = Curve(weak, strong, tokens, line).apgr()
    return -np.inf if found is None else float(found)
