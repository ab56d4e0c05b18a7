"""A bank with other scores for the same steps: joint scores, or scores with added noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trim.errors import InvalidInput
from trim.fingerprints import Seen
from trim.models.model import Prefix
from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, RecordedProblem, SoloSolution, SoloStep
from trim.scorers.joint import JointWeights, Signals
from trim.scorers.noisy import check_sigma, noisy


def labelled_signals(banks: Sequence[Bank]) -> list[tuple[Signals, bool]]:
    """Training examples for joint scores (`trim.scorers.joint.fit_joint`).

    Returns:
        Signals and label of each checked step; for a bank without step labels, signals of each
        weak solution and whether its answer is right.

    Raises:
        InvalidInput: a bank does not hold `prm` scores, the banks are of different models, or a
            step lacks its log-probability.
    """
    examples: list[tuple[Signals, bool]] = []
    for bank in banks:
        if bank.identity.scorer != "prm":
            raise InvalidInput(
                f"the bank holds {bank.identity.scorer!r} scores; joint scores are fitted to prm"
                " scores: collect a bank with --scorer prm"
            )
        if bank.identity.models != banks[0].identity.models:
            raise InvalidInput("the banks are of different models; fit each pair by itself")
        labelled = [step for problem in bank.problems for step in _step_examples(problem)]
        examples += labelled or [_solution_example(problem) for problem in bank.problems]
    return examples


def rescore(bank: Bank, weights: JointWeights, fingerprint: str, seen: Seen = frozenset()) -> Bank:
    """The same bank with joint scores in place of the reward model's.

    Of the routed solutions, those remain whose policy needed no scores.

    Args:
        fingerprint: sha256 of the file of the weights.
        seen: fingerprints of the problems that the weights were fitted to.

    Raises:
        InvalidInput: the bank does not hold `prm` scores, the weights are of other models, or a
            step lacks its log-probability.
    """
    identity = bank.identity
    if identity.scorer != "prm":
        raise InvalidInput(
            f"the bank holds {identity.scorer!r} scores; joint scores need those of prm"
        )
    if weights.models != identity.models:
        raise InvalidInput(
            "the weights were fitted to other models than the bank's; fit them to this bank with"
            " `trim fit-scorer`"
        )
    models = {**identity.models, "joint": fingerprint}
    return Bank(
        replace(identity, scorer="joint", models=models, seen=seen),
        tuple(_rescore_problem(problem, weights) for problem in bank.problems),
        tuple(each for each in bank.routed if not each.scores),
    )


def add_noise(bank: Bank, sigma: float) -> Bank:
    """The same bank as recorded with `trim.scorers.noisy.NoisyScorer`.

    Args:
        sigma: standard deviation of the noise in the scores' log-odds, at least 0.

    Raises:
        InvalidInput: `sigma` is negative or not finite.
    """
    check_sigma(sigma)
    problems = tuple(_add_noise_to_problem(problem, sigma) for problem in bank.problems)
    return Bank(bank.identity, problems)


def _step_examples(problem: RecordedProblem) -> Iterator[tuple[Signals, bool]]:
    for node in problem.nodes:
        for score, log_probability, right in (
            (node.draft_score, node.draft_log_probability, node.draft_right),
            (node.strong_score, node.strong_log_probability, node.strong_right),
        ):
            if right is not None and score is not None:
                yield [(score, _require(log_probability))], right


def _solution_example(problem: RecordedProblem) -> tuple[Signals, bool]:
    steps = [
        (step.score, _require(step.log_probability))
        for step in problem.weak.steps
        if step.score is not None
    ]
    return steps, problem.weak.correct


def _require(log_probability: float | None) -> float:
    if log_probability is None:
        raise InvalidInput(
            "a step of the bank lacks its log-probability, which joint scores need; collect a bank"
            " with `trim collect`, which records it"
        )
    return log_probability


def _rescore_problem(problem: RecordedProblem, weights: JointWeights) -> RecordedProblem:
    return replace(
        problem,
        weak=_rescore_solution(problem.weak, weights),
        strong=_rescore_solution(problem.strong, weights),
        nodes=tuple(
            replace(
                node,
                draft_score=_joint(node.draft_score, node.draft_log_probability, weights),
                strong_score=_joint(node.strong_score, node.strong_log_probability, weights),
            )
            for node in problem.nodes
        ),
    )


def _rescore_solution(solution: SoloSolution, weights: JointWeights) -> SoloSolution:
    return replace(
        solution,
        steps=tuple(
            replace(step, score=_joint(step.score, step.log_probability, weights))
            for step in solution.steps
        ),
    )


def _joint(score: float | None, log_probability: float | None, weights: JointWeights) -> Any:
    """The joint score; None for a step that was not scored."""
    return None if score is None else weights.of(score, _require(log_probability))


def _add_noise_to_problem(problem: RecordedProblem, sigma: float) -> RecordedProblem:
    start = Prefix(problem.question)
    return replace(
        problem,
        nodes=_add_noise_to_nodes(problem, sigma),
        weak=_add_noise_to_solution(problem.weak, start, sigma),
        strong=_add_noise_to_solution(problem.strong, start, sigma),
    )


def prefixes_of(problem: RecordedProblem) -> list[Prefix]:
    """The question and the kept steps before the draft of each node."""
    # Nodes are in topological order, and all paths to a node have the same text.
    prefixes = {0: Prefix(problem.question)}
    for index, node in enumerate(problem.nodes):
        if node.continue_to >= 0:
            prefixes[node.continue_to] = prefixes[index].then(node.draft)
        if node.regenerate_to >= 0 and node.strong is not None:
            prefixes[node.regenerate_to] = prefixes[index].then(node.strong)
    return [prefixes[index] for index in range(len(problem.nodes))]


def _add_noise_to_nodes(problem: RecordedProblem, sigma: float) -> tuple[Node, ...]:
    changed = []
    for node, prefix in zip(problem.nodes, prefixes_of(problem), strict=True):
        score = noisy(node.draft_score, prefix.then(node.draft), sigma)
        node = replace(node, draft_score=score)
        if node.strong is not None and node.strong_score is not None:
            score = noisy(node.strong_score, prefix.then(node.strong), sigma)
            node = replace(node, strong_score=score)
        changed.append(node)
    return tuple(changed)


def _add_noise_to_solution(solution: SoloSolution, prefix: Prefix, sigma: float) -> SoloSolution:
    steps: list[SoloStep] = []
    for step in solution.steps:
        prefix = prefix.then(step.text)
        score = None if step.score is None else noisy(step.score, prefix, sigma)
        steps.append(replace(step, score=score))
    return replace(solution, steps=tuple(steps))
