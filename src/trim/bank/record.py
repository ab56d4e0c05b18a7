"""What a bank knows of one problem."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trim.bank.tree import Node, Tree


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


class Origin(StrEnum):
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

    origin: Origin
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
