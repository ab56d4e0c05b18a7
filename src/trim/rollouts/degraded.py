"""A bank as it would have been recorded with a worse scorer."""

from __future__ import annotations

from dataclasses import replace

from trim.models.model import Prefix
from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, RecordedProblem, Solved, SolvedStep
from trim.scorers.noisy import check_sigma, noisy


def degraded(bank: Bank, sigma: float) -> Bank:
    """The bank with every score as `NoisyScorer` would have given it.

    Raises:
        InvalidInput: `sigma` is no standard deviation.
    """
    check_sigma(sigma)
    return Bank(bank.identity, tuple(_problem(problem, sigma) for problem in bank.problems))


def _problem(problem: RecordedProblem, sigma: float) -> RecordedProblem:
    start = Prefix(problem.question)
    return replace(
        problem,
        nodes=_nodes(problem.nodes, start, sigma),
        weak=_solved(problem.weak, start, sigma),
        strong=_solved(problem.strong, start, sigma),
    )


def _nodes(nodes: tuple[Node, ...], start: Prefix, sigma: float) -> tuple[Node, ...]:
    """Every node stands behind its parent, and all paths to it have the same text."""
    before = {0: start}
    found = []
    for index, node in enumerate(nodes):
        prefix = before[index]
        drafted = prefix.then(node.draft)
        node = replace(node, draft_score=noisy(node.draft_score, drafted, sigma))
        if node.continue_to >= 0:
            before[node.continue_to] = drafted
        if node.strong is not None:
            rewritten = prefix.then(node.strong)
            if node.strong_score is not None:
                score = noisy(node.strong_score, rewritten, sigma)
                node = replace(node, strong_score=score)
            if node.regenerate_to >= 0:
                before[node.regenerate_to] = rewritten
        found.append(node)
    return tuple(found)


def _solved(solved: Solved, prefix: Prefix, sigma: float) -> Solved:
    steps: list[SolvedStep] = []
    for step in solved.steps:
        prefix = prefix.then(step.text)
        score = None if step.score is None else noisy(step.score, prefix, sigma)
        steps.append(replace(step, score=score))
    return replace(solved, steps=tuple(steps))
