"""A bank whose steps are scored anew, from what it recorded of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trim.bank.bank import Bank
from trim.bank.record import RecordedProblem, Solved
from trim.bank.signals import told
from trim.errors import InvalidInput
from trim.scorers.joint import JointWeights
from trim.seen import Seen


def rescore(bank: Bank, weights: JointWeights, fingerprint: str, seen: Seen = frozenset()) -> Bank:
    """The same traces with joint scores instead of the reward model's.

    Args:
        fingerprint: sha256 of the file of the weights.
        seen: the problems that they were fitted to.

    Raises:
        InvalidInput: other scores than the reward model's, weights of other models, or a
            step without its log-probability.
    """
    identity = bank.identity
    if identity.scorer != "prm":
        raise InvalidInput(f"a bank of scores {identity.scorer!r}; joint scores need those of prm")
    if weights.models != identity.models:
        raise InvalidInput(
            "the weights were fitted to other models than the bank's; fit them to this bank with"
            " `trim fit-scorer`"
        )
    models = {**identity.models, "joint": fingerprint}
    return Bank(
        replace(identity, scorer="joint", models=models, seen=seen),
        tuple(rescored(problem, weights) for problem in bank.problems),
    )


def rescored(problem: RecordedProblem, weights: JointWeights) -> RecordedProblem:
    return replace(
        problem,
        weak=solved(problem.weak, weights),
        strong=solved(problem.strong, weights),
        nodes=tuple(
            replace(
                node,
                draft_score=joint(node.draft_score, node.draft_log_probability, weights),
                strong_score=joint(node.strong_score, node.strong_log_probability, weights),
            )
            for node in problem.nodes
        ),
    )


def solved(alone: Solved, weights: JointWeights) -> Solved:
    return replace(
        alone,
        steps=tuple(
            replace(step, score=joint(step.score, step.log_probability, weights))
            for step in alone.steps
        ),
    )


def joint(score: float | None, log_probability: float | None, weights: JointWeights) -> Any:
    """None only where there was no score."""
    return None if score is None else weights.of(score, told(log_probability))
