"""The records of one problem: both models' solutions, the tree of drafts, and rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG, UNKNOWN


@dataclass(frozen=True)
class Node:
    """One draft, and the strong model's rewrite of it.

    Attributes:
        step: number of the step that is decided, from 1.
        draft, draft_score, draft_tokens: the weak model's step; its score is in [0, 1], or nan in
            a bank without scores (`trim.rollouts.identity.UNSCORED`).
        draft_right: the suite's check of the draft, or an imported label
            (`trim.rollouts.bank.Bank.labels_first_errors`); None without either.
        draft_ends: whether the solution ends with this draft, if it is kept.
        draft_answers: whether it then has an answer (`trim.types.Observation`).
        strong_ends: whether the solution ends with the strong model's step.
        strong: the strong model's step; None if it was not asked or its context was full.
        strong_score: its score in [0, 1] after the same prefix; None if it was not scored.
        strong_tokens, strong_right: as for the draft; 0 and None without a strong step.
        continue_to, regenerate_to: index of the node that the action leads to, or
            LEAF_RIGHT, LEAF_WRONG or UNKNOWN (`trim.policies.ppo.trees`).
        draft_log_probability, strong_log_probability: mean over the tokens of each, in nats;
            None if unknown.
    """

    step: int
    draft: str
    draft_score: float
    draft_tokens: int
    draft_right: bool | None = None
    draft_ends: bool = False
    strong: str | None = None
    strong_score: float | None = None
    strong_tokens: int = 0
    strong_right: bool | None = None
    continue_to: int = UNKNOWN
    regenerate_to: int = UNKNOWN
    draft_answers: bool = False
    strong_ends: bool = False
    draft_log_probability: float | None = None
    strong_log_probability: float | None = None

    @property
    def has_rewrite(self) -> bool:
        """Whether it is recorded what follows if the strong model rewrites the draft."""
        return self.strong is not None or self.regenerate_to != UNKNOWN


@dataclass(frozen=True)
class Tree:
    """The nodes of a problem in topological order, the root first.

    Implements `trim.policies.ppo.trees.TreeArrays`: every array has shape (nodes,); unknown
    scores are nan.
    """

    nodes: tuple[Node, ...]

    @cached_property
    def step(self) -> NDArray[Any]:
        return np.array([node.step for node in self.nodes], dtype=np.int64)

    @cached_property
    def draft_score(self) -> NDArray[Any]:
        return np.array([node.draft_score for node in self.nodes], dtype=np.float64)

    @cached_property
    def draft_tokens(self) -> NDArray[Any]:
        return np.array([node.draft_tokens for node in self.nodes], dtype=np.int64)

    @cached_property
    def strong_score(self) -> NDArray[Any]:
        return np.array([node.strong_score for node in self.nodes], dtype=np.float64)

    @cached_property
    def strong_tokens(self) -> NDArray[Any]:
        return np.array([node.strong_tokens for node in self.nodes], dtype=np.int64)

    @cached_property
    def continue_to(self) -> NDArray[Any]:
        return np.array([node.continue_to for node in self.nodes], dtype=np.int64)

    @cached_property
    def regenerate_to(self) -> NDArray[Any]:
        return np.array([node.regenerate_to for node in self.nodes], dtype=np.int64)


def check_tree(nodes: Sequence[Node]) -> None:
    """Raises ValueError if the nodes are not a `Tree`."""
    for index, node in enumerate(nodes):
        if not (0 <= node.draft_score <= 1 or math.isnan(node.draft_score)):
            raise ValueError(f"node {index} has a score outside [0, 1]")
        if node.draft_tokens < 0 or node.strong_tokens < 0:
            raise ValueError(f"node {index} has a negative count")
        if node.strong_score is not None and not 0 <= node.strong_score <= 1:
            raise ValueError(f"node {index} has a score outside [0, 1]")
        for child in (node.continue_to, node.regenerate_to):
            if child in (LEAF_RIGHT, LEAF_WRONG, UNKNOWN):
                continue
            if not index < child < len(nodes) or nodes[child].step != node.step + 1:
                raise ValueError(f"node {index} leads to {child}")
    if not nodes or nodes[0].step != 1:
        raise ValueError("there is no root")


@dataclass(frozen=True)
class SoloStep:
    """A step of a solution by one model alone.

    Attributes:
        tokens: decoded by its author.
        score: in [0, 1]; None if it was not scored.
        log_probability: mean over its tokens, in nats; None if unknown.
        right: the suite's check of the step; None without a checker.
    """

    text: str
    tokens: int
    score: float | None = None
    right: bool | None = None
    log_probability: float | None = None


@dataclass(frozen=True)
class SoloSolution:
    """A problem solved by one model alone.

    Attributes:
        answer: content of the last boxed answer; None without one. Empty if there is one and a
            file of traces leaves out its content.
        correct: whether it matches the reference answer.
        tokens: decoded for the whole solution.
    """

    steps: tuple[SoloStep, ...]
    answer: str | None
    correct: bool
    tokens: int


NO_SOLUTION = SoloSolution((), None, False, 0)
"""In place of a strong model's solution that is not known."""


class RolloutOrigin(StrEnum):
    """How the decisions of a rollout were made."""

    KEEP = "keep"
    """Every draft is kept."""
    REWRITE = "rewrite"
    """Every draft is rewritten."""
    RANDOM = "random"
    """Each draft is rewritten with the rollout's probability."""
    BRANCH = "branch"
    """Leads to an unexplored edge anywhere in the tree; random after it."""


@dataclass(frozen=True)
class Rollout:
    """One solution, from the root of the tree to a leaf.

    Attributes:
        share: probability of rewriting a draft, for random decisions.
        nodes: indices of the nodes on the path.
        regenerate: the decision at each of them: whether the draft was rewritten.
        probability: of that decision, in (0, 1]; None for the fixed decisions up to a branch.
        correct, strong_tokens: of the solution.
    """

    origin: RolloutOrigin
    share: float
    nodes: tuple[int, ...]
    regenerate: tuple[bool, ...]
    probability: tuple[float | None, ...]
    correct: bool
    strong_tokens: int


@dataclass(frozen=True)
class RecordedProblem:
    """Everything recorded about a problem.

    Attributes:
        question, answer: the bare question and the reference answer; empty if unknown.
        weak, strong: each model's solution alone; the weak one's steps are all scored, or none in a
            bank without scores. `NO_SOLUTION` for an unknown strong one.
        nodes: of the problem's `Tree`.
        group: the problem, if several records hold solutions of it; None for its only record.
    """

    problem_id: str
    question: str
    answer: str
    weak: SoloSolution
    strong: SoloSolution
    nodes: tuple[Node, ...]
    rollouts: tuple[Rollout, ...]
    group: str | None = None

    @property
    def has_strong(self) -> bool:
        """Whether the strong model's own solution is known."""
        return self.strong != NO_SOLUTION

    @property
    def tree(self) -> Tree:
        return Tree(self.nodes)
