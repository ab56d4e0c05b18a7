"""What a bank knows of one problem."""

from __future__ import annotations

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
    """One draft, and what the strong model writes instead of it.

    Attributes:
        step: number of the step under decision, from 1.
        draft, draft_score, draft_tokens: the weak model's step; its score is in [0, 1].
        draft_right: whether the suite's checker accepts it; None where there is no checker.
        draft_ends: whether the solution ends with this draft, if it is kept.
        draft_answers: whether it has an answer then (`trim.policies.policy.Observation`).
        strong_ends: whether the solution ends with the strong model's step.
        strong: the strong model's step; None where it was not asked, or had no room.
        strong_score: its score in [0, 1] after the same prefix; None where it has none.
        strong_tokens, strong_right: as for the draft; 0 and None without a strong step.
        continue_to, regenerate_to: index of the node that the action leads to, or
            LEAF_RIGHT, LEAF_WRONG or UNKNOWN (`trim.policies.ppo.trees`).
        draft_log_probability, strong_log_probability: mean over the tokens of each, in nats;
            None where it is not known.
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


@dataclass(frozen=True)
class Tree:
    """The nodes of a problem, the root first, every other one behind its parent.

    The arrays are what `trim.policies.ppo.trees.TreeArrays` asks for, each of shape (nodes,);
    a score that is not known is nan.
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
    """ValueError where the nodes are no tree as `Tree` describes it."""
    for index, node in enumerate(nodes):
        if not 0 <= node.draft_score <= 1 or node.draft_tokens < 0 or node.strong_tokens < 0:
            raise ValueError(f"node {index} has a score or a count outside its range")
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
class SolvedStep:
    """A step of a solution by one model alone.

    Attributes:
        tokens: decoded by its author.
        score: in [0, 1]; None where it was not scored.
        log_probability: mean over its tokens, in nats; None where it is not known.
        right: what the suite's checker says; None where there is no checker.
    """

    text: str
    tokens: int
    score: float | None = None
    right: bool | None = None
    log_probability: float | None = None


@dataclass(frozen=True)
class Solved:
    """A problem as one model solves it alone.

    Attributes:
        answer: content of the last boxed answer, None without one.
        correct: whether it is the reference answer.
        tokens: decoded for the whole solution.
    """

    steps: tuple[SolvedStep, ...]
    answer: str | None
    correct: bool
    tokens: int


class NodeOrigin(StrEnum):
    """How the decisions of a rollout came about."""

    KEEP = "keep"
    """Every draft is kept."""
    REWRITE = "rewrite"
    """Every draft is rewritten."""
    RANDOM = "random"
    """Each draft is rewritten with the rollout's probability."""
    BRANCH = "branch"
    """An action not taken before, wherever in the tree; random behind it."""


@dataclass(frozen=True)
class Rollout:
    """One solution, from the root of the tree to a leaf.

    Attributes:
        share: probability to rewrite a draft, where the decision was drawn.
        nodes: indices of the nodes it passed.
        regenerate: what was decided at each of them.
        probability: of that decision, in (0, 1]; None where it was not drawn but set, which
            are the decisions up to the branch.
        correct, strong_tokens: of the solution.
    """

    origin: NodeOrigin
    share: float
    nodes: tuple[int, ...]
    regenerate: tuple[bool, ...]
    probability: tuple[float | None, ...]
    correct: bool
    strong_tokens: int


@dataclass(frozen=True)
class RecordedProblem:
    """A problem with all that was recorded of it.

    Attributes:
        answer: the reference answer.
        weak, strong: what each model does alone; every step of the weak one is scored.
        nodes: of its tree (see `Tree`).
    """

    problem_id: str
    question: str
    answer: str
    weak: Solved
    strong: Solved
    nodes: tuple[Node, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def tree(self) -> Tree:
        return Tree(self.nodes)
