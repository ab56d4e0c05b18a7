"""Fitting the POMDP router to a bank, and selecting its kind of belief by replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.curve import Curve
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.fit import (
    Evidence,
    LabelledTrajectory,
    evidence_from_solutions,
    fit_evidence,
)
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import PomdpPolicy
from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, Rollout
from trim.rollouts.replay import replay

FOLDS = 2
PRICE_STRIDE = 2
"""Every n-th price of the default sweep is evaluated."""
GAP = 5e-3
"""Largest gap between the bounds of the plans, in right answers."""


def best_belief_kind(bank: Bank) -> BeliefKind:
    """The kind of belief with the largest APGR; `newest` if the bank is too small or has no
    node with both actions recorded."""
    if not bank.tree_batch(copies=1).has_choice.any():
        return BeliefKind.NEWEST
    try:
        areas = apgr_by_belief(bank)
    except InvalidInput:
        return BeliefKind.NEWEST
    return max(areas, key=lambda kind: (areas[kind], kind is BeliefKind.NEWEST))


def apgr_by_belief(bank: Bank) -> Mapping[BeliefKind, float]:
    """APGR of each kind of belief: each half is replayed with a model fitted to the other half.

    Raises:
        InvalidInput: half of the bank has too few examples to fit a model.
    """
    curves: dict[BeliefKind, list[tuple[float, float]]] = {kind: [] for kind in BeliefKind}
    for fold in range(FOLDS):
        kept = [problem for i, problem in enumerate(bank.problems) if i % FOLDS == fold]
        rest = [problem for i, problem in enumerate(bank.problems) if i % FOLDS != fold]
        model = fit_evidence(evidence_from_bank(replace(bank, problems=tuple(rest))))
        held_out = replace(bank, problems=tuple(kept))
        for kind in BeliefKind:
            curves[kind] += points_of(held_out, make_policies(model, kind))
    areas = {}
    for kind, points in curves.items():
        halves = np.array_split(np.array(points), FOLDS)
        areas[kind] = apgr(bank, [tuple(point) for point in np.mean(halves, axis=0).tolist()])
    return areas


def make_policies(model: PomdpModel, kind: BeliefKind) -> list[PomdpPolicy]:
    beliefs = model.filter(kind)
    return [
        PomdpPolicy(make_plan(model.problem(price, kind), GAP), beliefs)
        for price in model.prices()[::PRICE_STRIDE]
    ]


def points_of(bank: Bank, policies: Iterable[PomdpPolicy]) -> list[tuple[float, float]]:
    """(mean strong tokens, accuracy) of each policy, by replay."""
    points = []
    for policy in policies:
        replays = [replay(problem, policy) for problem in bank.problems]
        tokens = float(np.mean([replayed.strong_tokens for replayed in replays]))
        points.append((tokens, float(np.mean([replayed.correct for replayed in replays]))))
    return points


def apgr(bank: Bank, points: Sequence[tuple[float, ...]]) -> float:
    """APGR of a curve; -inf if undefined, because the strong model is not better."""
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


def evidence_from_bank(bank: Bank) -> Evidence:
    """The statistics of a bank: of every draft and rewritten step once, if all are labelled.

    Without labels they are those of the finished solutions, with first errors by score.
    """
    if any(node.draft_right is None for problem in bank.problems for node in problem.nodes):
        return evidence_from_solutions(scored_solutions(bank))
    evidence = Evidence()
    for problem in bank.problems:
        collect_labels(problem.nodes, evidence)
        evidence.lengths.extend(len(rollout.nodes) for rollout in problem.rollouts)
        evidence.recovered.extend(
            rollout.correct for rollout in problem.rollouts if has_error(problem.nodes, rollout)
        )
    return evidence


def collect_labels(nodes: Sequence[Node], evidence: Evidence) -> None:
    """Add the labelled steps of a tree; of merged paths, the first one found counts."""
    reached = {0: (True, 1.0)}
    for index, node in enumerate(nodes):
        if index not in reached:
            continue
        all_right, lowest = reached[index]
        branches: list[tuple[bool, bool | None, float | None, int]] = [
            (False, node.draft_right, node.draft_score, node.continue_to)
        ]
        if node.strong is not None:
            evidence.strong_tokens.append(node.strong_tokens)
            branches.append((True, node.strong_right, node.strong_score, node.regenerate_to))
        for by_strong, right, score, child in branches:
            if right is None or score is None:
                continue
            state = 1 if not all_right else 0 if right else 2
            evidence.examples.append((state, lowest, score))
            if all_right:
                evidence.step_outcomes.append((by_strong, right))
            if child >= 0:
                reached.setdefault(child, (all_right and right, min(lowest, score)))


def has_error(nodes: Sequence[Node], rollout: Rollout) -> bool:
    """Whether a labelled rollout keeps a wrong step."""
    return any(
        (nodes[node].strong_right if strong else nodes[node].draft_right) is False
        for node, strong in zip(rollout.nodes, rollout.regenerate, strict=True)
    )


def scored_solutions(bank: Bank) -> Iterator[LabelledTrajectory]:
    """The solutions of each model alone and of rollouts with rewritten steps, if all their
    steps have scores."""
    for problem in bank.problems:
        for by_strong, solved in ((False, problem.weak), (True, problem.strong)):
            steps = [(step.score, step.tokens, by_strong) for step in solved.steps]
            yield from _scored(steps, solved.correct)
        for rollout in problem.rollouts:
            if any(rollout.regenerate):
                decided = zip(rollout.nodes, rollout.regenerate, strict=True)
                kept = [(problem.nodes[node], strong) for node, strong in decided]
                steps = [
                    (node.strong_score, node.strong_tokens, True)
                    if strong
                    else (node.draft_score, node.draft_tokens, False)
                    for node, strong in kept
                ]
                yield from _scored(steps, rollout.correct)


def _scored(
    steps: Sequence[tuple[float | None, int, bool]], correct: bool
) -> Iterator[LabelledTrajectory]:
    known = [(score, tokens, strong) for score, tokens, strong in steps if score is not None]
    if known and len(known) == len(steps):
        scores, tokens, by_strong = zip(*known, strict=True)
        yield LabelledTrajectory(scores, tokens, by_strong, correct)
