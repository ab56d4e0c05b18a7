"""What a bank's steps tell about scores and confidence, for `trim.learning.joint`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trim.bank.bank import Bank
from trim.bank.record import RecordedProblem
from trim.errors import InvalidInput
from trim.learning.joint import Signals


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
