"""A bank whose steps are scored anew, from what it recorded of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trim.errors import InvalidInput
from trim.fingerprints import Seen
from trim.rollouts.bank import Bank
from trim.rollouts.record import RecordedProblem, Solved
from trim.scorers.joint import JointWeights, Signals


def groups_of(banks: Sequence[Bank]) -> list[tuple[Signals, bool]]:
    """Labelled steps; of a bank without labels, the weak model's solutions.

    Raises:
        InvalidInput: other scores than the reward model's, banks of different models, or
            steps without their log-probability.
    """
    groups: list[tuple[Signals, bool]] = []
    for bank in banks:
        if bank.identity.scorer != "prm":
            raise InvalidInput(
                f"a bank of scores {bank.identity.scorer!r}; joint scores are fitted to those of"
                " prm: collect one with --scorer prm"
            )
        if bank.identity.models != banks[0].identity.models:
            raise InvalidInput("the banks are of different models; fit each pair by itself")
        labelled = [step for problem in bank.problems for step in labelled_steps(problem)]
        groups += labelled or [solution(problem) for problem in bank.problems]
    return groups


def labelled_steps(problem: RecordedProblem) -> Iterator[tuple[Signals, bool]]:
    for node in problem.nodes:
        for score, log_probability, right in (
            (node.draft_score, node.draft_log_probability, node.draft_right),
            (node.strong_score, node.strong_log_probability, node.strong_right),
        ):
            if right is not None and score is not None:
                yield [(score, told(log_probability))], right


def solution(problem: RecordedProblem) -> tuple[Signals, bool]:
    steps = [
        (step.score, told(step.log_probability))
        for step in problem.weak.steps
        if step.score is not None
    ]
    return steps, problem.weak.correct


def told(log_probability: float | None) -> float:
    if log_probability is None:
        raise InvalidInput(
            "a step without its log-probability, which joint scores need; a bank of"
            " `trim collect` has it for every step"
        )
    return log_probability


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
