"""Fitting the POMDP router to a bank, and selecting its kind of belief by replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np

from trim.errors import InvalidInput
from trim.metrics.curve import Curve
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.first_errors import UNKNOWN, Step, WrittenSteps, find_errors, log_density
from trim.policies.pomdp.fit import Evidence, evidence_from_steps, fit_evidence
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.observations import Observations
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import PomdpPolicy
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG
from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, Rollout, SoloSolution
from trim.rollouts.replay import replay

FOLDS = 2
PRICE_STRIDE = 2
"""Every n-th price of the default sweep is evaluated."""
GAP = 5e-3
"""Largest gap between the bounds of the plans, in right answers."""
OUTCOMES = {LEAF_RIGHT: 1, LEAF_WRONG: 0}


def best_belief_kind(bank: Bank, observations: Observations | None = None) -> BeliefKind:
    """The kind of belief with the largest APGR; `newest` if the bank is too small or has no
    node with both actions recorded.

    Args:
        observations: as in `fit_bank`.
    """
    if not bank.tree_batch(copies=1).has_choice.any():
        return BeliefKind.NEWEST
    try:
        areas = apgr_by_belief(bank, observations)
    except InvalidInput:
        return BeliefKind.NEWEST
    return max(areas, key=lambda kind: (areas[kind], kind is BeliefKind.NEWEST))


def apgr_by_belief(
    bank: Bank, observations: Observations | None = None
) -> Mapping[BeliefKind, float]:
    """APGR of each kind of belief: each half is replayed with a model fitted to the other half.

    Raises:
        InvalidInput: half of the bank has too few examples to fit a model.
    """
    curves: dict[BeliefKind, list[tuple[float, float]]] = {kind: [] for kind in BeliefKind}
    for rest, held_out in halves(bank):
        model = fit_evidence(evidence_from_bank(rest, observations), observations=observations)
        for kind in BeliefKind:
            curves[kind] += points_of(held_out, make_policies(model, kind))
    areas = {}
    for kind, points in curves.items():
        sides = np.array_split(np.array(points), FOLDS)
        areas[kind] = apgr(bank, [tuple(point) for point in np.mean(sides, axis=0).tolist()])
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


def fit_bank(
    bank: Bank, kind: BeliefKind | None = None, observations: Observations | None = None
) -> PomdpModel:
    """Fit the model to a bank.

    Args:
        kind: of belief; None for `best_belief_kind`.
        observations: known densities of scores; None fits them to the bank.

    Raises:
        InvalidInput: the bank lacks solutions by the strong model or scores of its steps, or has
            too few examples to fit a model.
    """
    bank.require_strong("a fit")
    require_strong_scores(bank)
    model = fit_evidence(
        evidence_from_bank(bank, observations),
        {**bank.identity.models, "kind": bank.identity.scorer},
        kind or best_belief_kind(bank, observations),
        observations,
    )
    if model.source["from"] != "outcomes":
        return model
    value = held_out_log_likelihood(bank, observations)
    found = {} if value is None else {"log_likelihood": float(f"{value:.6g}")}
    return replace(model, source={**model.source, **found})


def held_out_log_likelihood(bank: Bank, observations: Observations | None = None) -> float | None:
    """Log-density of scores in [0, 1] and outcomes, in nats an outcome.

    Each half of the bank's problems is measured by a model of solutions
    (`trim.policies.pomdp.first_errors`) that is fitted to the other half. None if the outcomes of
    a half are all right or all wrong.
    """
    total, outcomes = 0.0, 0
    for rest, kept in halves(bank):
        try:
            found = find_errors(unlabelled_steps(rest), observations)
        except InvalidInput:
            return None
        steps = unlabelled_steps(kept)
        total += log_density(steps, found.model)
        outcomes += steps.outcomes
    return total / outcomes


def halves(bank: Bank) -> Iterator[tuple[Bank, Bank]]:
    """Each half of the problems, after the other one; solutions of a problem stay together."""
    for fold in range(FOLDS):
        held_out = bank.groups % FOLDS == fold
        rest, kept = (tuple(compress(bank.problems, side)) for side in (~held_out, held_out))
        yield replace(bank, problems=rest), replace(bank, problems=kept)


def evidence_from_bank(bank: Bank, observations: Observations | None = None) -> Evidence:
    """The statistics of a bank: of every draft and rewritten step once.

    By the labels, if all steps after right steps have one. Without labels the states are found
    from scores and outcomes (`trim.policies.pomdp.first_errors`), also those of the strong model
    alone if its steps have scores.

    Args:
        observations: known densities of scores, for a bank without labels.

    Raises:
        InvalidInput: labels are missing, and the answers are all right or all wrong.
    """
    lengths = [len(rollout.nodes) for problem in bank.problems for rollout in problem.rollouts]
    nodes = (node for problem in bank.problems for node in problem.nodes)
    tokens = [node.strong_tokens for node in nodes if node.strong is not None]
    labelled = WrittenSteps.of(tree_steps(bank))
    if labelled.labelled_states() is None:
        for solution in scored_alone(bank):
            lengths.append(len(solution.steps))
            tokens += [step.tokens for step in solution.steps]
        return evidence_from_steps(unlabelled_steps(bank), lengths, tokens, observations)
    harmless = [
        rollout.correct
        for problem in bank.problems
        for rollout in problem.rollouts
        if has_error(problem.nodes, rollout)
    ]
    evidence = evidence_from_steps(labelled, lengths, tokens)
    return replace(evidence, recovered=(sum(harmless), len(harmless)))


def unlabelled_steps(bank: Bank) -> WrittenSteps:
    """The steps of a bank's trees, and those of the strong model alone if they have scores."""
    steps = tree_steps(bank)
    for solution in scored_alone(bank):
        last = len(solution.steps) - 1
        for place, step in enumerate(solution.steps):
            outcome = int(solution.correct) if place == last else UNKNOWN
            assert step.score is not None
            steps.append(Step(len(steps) - 1 if place else -1, True, step.score, outcome))
    return WrittenSteps.of(steps)


def scored_alone(bank: Bank) -> list[SoloSolution]:
    """The solutions of the strong model alone whose steps all have scores."""
    solutions = (problem.strong for problem in bank.problems)
    return [
        solution
        for solution in solutions
        if solution.steps and all(step.score is not None for step in solution.steps)
    ]


def require_strong_scores(bank: Bank) -> None:
    """Raises InvalidInput if no step of the strong model has a score, as in some imported banks."""
    nodes = (node for problem in bank.problems for node in problem.nodes)
    if not scored_alone(bank) and all(node.strong_score is None for node in nodes):
        raise InvalidInput(
            "the strong model's steps have no scores, which a fit needs; score the steps of both"
            " models with `trim rescore BANK CONFIG --out NEW`"
        )


def tree_steps(bank: Bank) -> list[Step]:
    """The drafts and rewrites of a bank's trees; of merged paths, the first one found counts."""
    steps: list[Step] = []
    for problem in bank.problems:
        reached = {0: -1}
        for index, node in enumerate(problem.nodes):
            if index not in reached:
                continue
            parent, draft = reached[index], len(steps)
            outcome = OUTCOMES.get(node.continue_to, UNKNOWN)
            steps.append(Step(parent, False, node.draft_score, outcome, label_of(node.draft_right)))
            reached.setdefault(node.continue_to, draft)
            if node.strong is None or node.strong_score is None:
                continue
            label, child = label_of(node.strong_right), node.regenerate_to
            if node.strong == node.draft:
                steps.append(Step(parent, True, node.strong_score, UNKNOWN, label, twin=draft))
                reached.setdefault(child, draft)
            else:
                outcome = OUTCOMES.get(child, UNKNOWN)
                reached.setdefault(child, len(steps))
                steps.append(Step(parent, True, node.strong_score, outcome, label))
    return steps


def label_of(right: bool | None) -> int:
    return UNKNOWN if right is None else int(right)


def has_error(nodes: Sequence[Node], rollout: Rollout) -> bool:
    """Whether a labelled rollout keeps a wrong step."""
    return any(
        (nodes[node].strong_right if strong else nodes[node].draft_right) is False
        for node, strong in zip(rollout.nodes, rollout.regenerate, strict=True)
    )
