"""What solved problems tell about models and scorer, ready to be counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from trim.bank.bank import Bank
from trim.bank.record import Rollout
from trim.bank.tree import Node
from trim.pomdp.trajectory import Trajectory


@dataclass(frozen=True)
class Evidence:
    """Counts to be.

    Attributes:
        examples: state (0, 1, 2), lowest earlier score and newest score of steps.
        judged: by the strong model, and right, of steps after right steps alone.
        lengths: steps of solutions.
        strong_tokens: of steps that the strong model wrote.
        recovered: of solutions with a wrong step: whether the answer is right all the same.
    """

    examples: list[tuple[int, float, float]] = field(default_factory=list)
    judged: list[tuple[bool, bool]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    strong_tokens: list[int] = field(default_factory=list)
    recovered: list[bool] = field(default_factory=list)


def evidence_of(trajectories: Iterable[Trajectory]) -> Evidence:
    evidence = Evidence()
    for trajectory in trajectories:
        evidence.examples.extend(trajectory.examples())
        evidence.judged.extend(trajectory.judged())
        evidence.lengths.append(len(trajectory.scores))
        if trajectory.first_error is not None:
            evidence.recovered.append(trajectory.correct)
        evidence.strong_tokens.extend(
            count
            for count, strong in zip(trajectory.tokens, trajectory.by_strong, strict=True)
            if strong
        )
    return evidence


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


def solutions_of(bank: Bank) -> Iterator[Trajectory]:
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


def _scored(steps: Sequence[tuple[float | None, int, bool]], correct: bool) -> Iterator[Trajectory]:
    known = [(score, tokens, strong) for score, tokens, strong in steps if score is not None]
    if known and len(known) == len(steps):
        scores, tokens, by_strong = zip(*known, strict=True)
        yield Trajectory(scores, tokens, by_strong, correct)
