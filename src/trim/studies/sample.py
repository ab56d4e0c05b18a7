"""Scores with the labels of their steps and solutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trim.rollouts.bank import Bank
from trim.rollouts.record import Node, RecordedProblem

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

Row = tuple[float, bool, int, int]


@dataclass(frozen=True)
class Sample:
    """Scored steps or solutions, arrays of shape (n,).

    Attributes:
        scores: in [0, 1].
        right: labels.
        problem: index of the problem (`trim.rollouts.bank.Bank.groups`); entries of one problem
            are not independent.
        step: number of the step, from 1; for a solution, its number of steps.
    """

    scores: Floats
    right: Booleans
    problem: Integers
    step: Integers

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def wrong(self) -> int:
        return int((~self.right).sum())

    def where(self, chosen: Booleans) -> Sample:
        return Sample(
            self.scores[chosen], self.right[chosen], self.problem[chosen], self.step[chosen]
        )

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.right, other.right]),
            np.concatenate([self.problem, other.problem]),
            np.concatenate([self.step, other.step]),
        )


def sample_of(rows: Iterable[Row]) -> Sample:
    """A sample from rows of score, right, problem and step."""
    listed = list(rows)
    scores, right, problem, step = zip(*listed, strict=True) if listed else ((), (), (), ())
    return Sample(
        np.array(scores, dtype=np.float64),
        np.array(right, dtype=np.bool_),
        np.array(problem, dtype=np.int64),
        np.array(step, dtype=np.int64),
    )


@dataclass(frozen=True)
class Steps:
    """Every labelled step in the trees of a bank.

    Attributes:
        drafts: steps of the weak model.
        sound: for each draft, whether all steps before it are right.
        strong: steps of the strong model whose text differs from the draft's.
    """

    drafts: Sample
    sound: Booleans
    strong: Sample

    @property
    def repairable(self) -> Sample:
        """Drafts up to and including the first error, on which a router decides (S0 or S2)."""
        return self.drafts.where(self.sound)

    @property
    def lost(self) -> Sample:
        """Drafts after an error; right if they follow from the steps before them."""
        return self.drafts.where(~self.sound)


def judged_steps(bank: Bank) -> Steps | None:
    """The steps of a bank; None if a draft has no label, as in most imported traces.

    Labels are never derived from scores, which would flatter the scores. If they mark first errors
    alone (`Bank.labels_first_errors`), only `repairable` is meaningful.
    """
    if any(node.draft_right is None for problem in bank.problems for node in problem.nodes):
        return None
    drafts: list[Row] = []
    sound: list[bool] = []
    strong: list[Row] = []
    for number, problem in zip(bank.groups.tolist(), bank.problems, strict=True):
        for node, all_right in zip(problem.nodes, soundness(problem), strict=True):
            drafts.append((node.draft_score, bool(node.draft_right), number, node.step))
            sound.append(all_right)
            if differs(node) and node.strong_score is not None and node.strong_right is not None:
                strong.append((node.strong_score, node.strong_right, number, node.step))
    return Steps(sample_of(drafts), np.array(sound, dtype=np.bool_), sample_of(strong))


def differs(node: Node) -> bool:
    """Whether the strong model's step differs from the draft."""
    return node.strong is not None and node.strong != node.draft


def soundness(problem: RecordedProblem) -> list[bool]:
    """For each node, whether all steps before its draft are right.

    Merged paths have the same text; the first one found counts.
    """
    found: dict[int, bool] = {0: True}
    for index, node in enumerate(problem.nodes):
        so_far = found.setdefault(index, False)
        for child, right in (
            (node.continue_to, node.draft_right),
            (node.regenerate_to, node.strong_right),
        ):
            if child >= 0:
                found.setdefault(child, so_far and bool(right))
    return [found[index] for index in range(len(problem.nodes))]


Aggregate = Callable[[Sequence[float]], float]
"""The score of a solution from those of its steps."""


def lowest_scores(bank: Bank) -> Sample:
    """The lowest step score of each weak solution with an answer, labelled by the answer."""
    return solution_scores(bank, min)


def solution_scores(bank: Bank, aggregate: Aggregate, strong: bool = False) -> Sample:
    """A score of each solution with an answer whose steps are all scored, labelled by the answer.

    Args:
        strong: of the strong model's own solutions, not the weak one's.
    """
    return sample_of(_solutions(bank, aggregate, strong))


def _solutions(bank: Bank, aggregate: Aggregate, strong: bool) -> Iterator[Row]:
    for number, problem in zip(bank.groups.tolist(), bank.problems, strict=True):
        solution = problem.strong if strong else problem.weak
        scores = [step.score for step in solution.steps if step.score is not None]
        if scores and len(scores) == len(solution.steps) and solution.answer is not None:
            yield aggregate(scores), solution.correct, number, len(scores)


def draft_scores(bank: Bank, first: bool = False) -> Sample:
    """All drafts of a bank, or one first draft of each problem, which precedes all decisions.

    `right` is the label of the step, or False if it has none.
    """
    records = list(zip(bank.groups.tolist(), bank.problems, strict=True))
    if first:
        records = list(
            {number: (number, problem) for number, problem in reversed(records)}.values()
        )
    return sample_of(
        (node.draft_score, bool(node.draft_right), number, node.step)
        for number, problem in records
        for node in (problem.nodes[:1] if first else problem.nodes)
    )
