"""Fitting the POMDP router to a bank: its evidence, and the belief filter chosen by replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.curve import Curve
from trim.policies.pomdp.belief import Belief
from trim.policies.pomdp.fit import Evidence, LabelledTrajectory, evidence_of, fit_evidence
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import Pomdp
from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, Rollout
from trim.rollouts.replay import replay

FOLDS = 2
EVERY = 2
"""Of the usual sweep's prices, so many are passed over for one that is tried."""
GAP = 5e-3
"""Within which the plans are certified here, in right answers."""


def best_belief(bank: Bank) -> Belief:
    """The kind with the largest APGR; `newest` where a bank is too small or has no rewritten
    steps to tell."""
    if not bank.tree_batch(copies=1).free.any():
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


def evidence_of_bank(bank: Bank) -> Evidence:
    """Of all drafts and rewritten steps in a bank, each once, where they are labelled.

    Without labels, of the finished solutions, whose first errors are told by the scores.
    """
    if any(node.draft_right is None for problem in bank.problems for node in problem.nodes):
        return evidence_of(solutions_of(bank))
    evidence = Evidence()
    for problem in bank.problems:
        collect_labels(problem.nodes, evidence)
        evidence.lengths.extend(len(rollout.nodes) for rollout in problem.rollouts)
        evidence.recovered.extend(
            rollout.correct for rollout in problem.rollouts if has_error(problem.nodes, rollout)
        )
    return evidence


def collect_labels(nodes: Sequence[Node], evidence: Evidence) -> None:
    """Add the steps of a tree; of paths that were merged the first one found counts."""
    reached = {0: (True, 1.0)}
    for index, node in enumerate(nodes):
        if index not in reached:
            continue
        sound, lowest = reached[index]
        ways: list[tuple[bool, bool | None, float | None, int]] = [
            (False, node.draft_right, node.draft_score, node.continue_to)
        ]
        if node.strong is not None:
            evidence.strong_tokens.append(node.strong_tokens)
            ways.append((True, node.strong_right, node.strong_score, node.regenerate_to))
        for by_strong, right, score, child in ways:
            if right is None or score is None:
                continue
            state = 1 if not sound else 0 if right else 2
            evidence.examples.append((state, lowest, score))
            if sound:
                evidence.judged.append((by_strong, right))
            if child >= 0:
                reached.setdefault(child, (sound and right, min(lowest, score)))


def has_error(nodes: Sequence[Node], rollout: Rollout) -> bool:
    return any(
        (nodes[node].strong_right if strong else nodes[node].draft_right) is False
        for node, strong in zip(rollout.nodes, rollout.regenerate, strict=True)
    )


def solutions_of(bank: Bank) -> Iterator[LabelledTrajectory]:
    """Both models' own solutions, and those of rollouts with rewritten steps, where all of
    a solution is scored."""
    for problem in bank.problems:
        for by_strong, solved in ((False, problem.weak), (True, problem.strong)):
            steps = [(step.score, step.tokens, by_strong) for step in solved.steps]
            yield from _scored(steps, solved.correct)
        for rollout in problem.rollouts:
            if any(rollout.regenerate):
                decided = zip(rollout.nodes, rollout.regenerate, strict=True)
                ways = [(problem.nodes[node], strong) for node, strong in decided]
                steps = [
                    (node.strong_score, node.strong_tokens, True)
                    if strong
                    else (node.draft_score, node.draft_tokens, False)
                    for node, strong in ways
                ]
                yield from _scored(steps, rollout.correct)


def _scored(
    steps: Sequence[tuple[float | None, int, bool]], correct: bool
) -> Iterator[LabelledTrajectory]:
    known = [(score, tokens, strong) for score, tokens, strong in steps if score is not None]
    if known and len(known) == len(steps):
        scores, tokens, by_strong = zip(*known, strict=True)
        yield LabelledTrajectory(scores, tokens, by_strong, correct)
