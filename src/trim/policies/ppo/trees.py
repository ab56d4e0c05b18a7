"""Recorded trees as flat arrays, for training and exact evaluation by indexing.

Shapes: N nodes (drafts before a decision) of P problems, T the deepest step. A recorded tree
merges paths with the same text; `unroll` separates them if their scores differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput

COPIES = 64
"""Limit on the nodes of a problem after unrolling, unless it had more before."""


@dataclass(frozen=True)
class Unrolled:
    """Nodes of a tree, with one copy per distinguishable path.

    Attributes:
        origin: (M,) the node of which each is a copy; the root is the first.
        continue_to, regenerate_to: (M,) as in the tree, with indices of copies.
    """

    origin: NDArray[np.int64]
    continue_to: NDArray[np.int64]
    regenerate_to: NDArray[np.int64]


def unroll(
    continue_to: NDArray[Any],
    regenerate_to: NDArray[Any],
    kept: tuple[NDArray[Any], NDArray[Any]],
    rewritten: tuple[NDArray[Any], NDArray[Any]],
    limit: int = COPIES,
) -> Unrolled:
    """Copy nodes that are reached by steps with the same text but different scores.

    A bank merges paths with equal text, since both models continue them alike. If the score
    depends on the author (`joint`, `logprob`, `entropy`), a router observes different pasts.
    Nodes are copied breadth first from the root. Beyond `limit`, further paths lead to the
    first copy, whose past has the same text and other scores.

    Args:
        continue_to, regenerate_to: (N,) child, or a negative number.
        kept, rewritten: score (N,) and tokens (N,) of the step that each action keeps.
        limit: maximum number of copies.
    """
    figures = [
        list(zip(np.nan_to_num(score, nan=-1.0).tolist(), tokens.tolist(), strict=True))
        for score, tokens in (kept, rewritten)
    ]
    branches = list(zip((continue_to.tolist(), regenerate_to.tolist()), figures, strict=True))
    origin: list[int] = [0]
    past: list[tuple[tuple[float, float], ...]] = [()]
    pointers: tuple[list[int], list[int]] = ([], [])
    copies: dict[tuple[int, tuple[tuple[float, float], ...]], int] = {(0, ()): 0}
    first = {0: 0}
    for place, node in enumerate(origin):
        for pointer, (to, of_step) in zip(pointers, branches, strict=True):
            child = to[node]
            if child >= 0:
                key = child, (*past[place], of_step[node])
                if key not in copies and child in first and len(origin) >= limit:
                    child = first[child]
                else:
                    if key not in copies:
                        copies[key] = len(origin)
                        first.setdefault(child, len(origin))
                        origin.append(child)
                        past.append(key[1])
                    child = copies[key]
            pointer.append(child)
    return Unrolled(np.array(origin), np.array(pointers[0]), np.array(pointers[1]))


Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

LEAF_RIGHT, LEAF_WRONG, UNKNOWN = -1, -2, -3
"""In place of a child: the solution ended right or wrong, or the action was not recorded."""

RESERVED = 3
"""Extra elements at the end of arrays of values, indexed by these three numbers."""


class TreeArrays(Protocol):
    """The arrays of a recorded tree; each has shape (nodes,), the root is node 0."""

    @property
    def step(self) -> NDArray[Any]: ...
    @property
    def draft_score(self) -> NDArray[Any]: ...
    @property
    def draft_tokens(self) -> NDArray[Any]: ...
    @property
    def strong_score(self) -> NDArray[Any]: ...
    @property
    def strong_tokens(self) -> NDArray[Any]: ...
    @property
    def continue_to(self) -> NDArray[Any]: ...
    @property
    def regenerate_to(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class TreeBatch:
    """Many trees, concatenated.

    Attributes:
        roots: (P,) the first node of each problem.
        step: (N,) number t of the step under decision, from 1.
        strong_tokens: (N,) tokens of regenerating; 0 if not recorded.
        continue_to, regenerate_to: (N,) the node after each action, or LEAF_RIGHT, LEAF_WRONG
            or UNKNOWN. At least one of the two is known.
        scores, tokens: (N, T) r_i and c_i of the kept steps and, in column t - 1, of the
            draft; 1 and 0 beyond it.
    """

    roots: Integers
    step: Integers
    strong_tokens: Floats
    continue_to: Integers
    regenerate_to: Integers
    scores: Floats
    tokens: Floats

    def __len__(self) -> int:
        return len(self.step)

    @cached_property
    def nodes_by_step(self) -> list[Integers]:
        """Indices of nodes by step, the deepest first: the order of a backward pass."""
        return [np.flatnonzero(self.step == t) for t in range(int(self.step.max()), 0, -1)]

    @cached_property
    def has_choice(self) -> Booleans:
        """(N,) whether both actions are recorded."""
        choice: Booleans = (self.continue_to != UNKNOWN) & (self.regenerate_to != UNKNOWN)
        return choice

    @cached_property
    def problem(self) -> Integers:
        """(N,) the problem of each node, 0..P-1."""
        return np.searchsorted(self.roots, np.arange(len(self)), side="right") - 1

    def select(self, problems: NDArray[Any]) -> TreeBatch:
        """The trees of some problems, in the order of this batch."""
        chosen = np.isin(self.problem, problems)
        place = np.cumsum(chosen) - 1

        def moved(pointers: Integers) -> Integers:
            kept: Integers = pointers[chosen]
            return np.where(kept >= 0, place[kept], kept)

        return TreeBatch(
            place[self.roots[np.unique(problems)]],
            self.step[chosen],
            self.strong_tokens[chosen],
            moved(self.continue_to),
            moved(self.regenerate_to),
            self.scores[chosen],
            self.tokens[chosen],
        )

    def recorded_actions(self, regenerate: NDArray[Any]) -> NDArray[Any]:
        """Decisions (N,) or (N, policies), replaced by the recorded action if only one is.

        In an incomplete bank all policies then do the same at such nodes. The approximation
        ignores the outcome of the missing action and favours no policy.
        """
        shape = (-1,) + (1,) * (regenerate.ndim - 1)
        forced = (self.continue_to == UNKNOWN).reshape(shape)
        return np.where(self.has_choice.reshape(shape), regenerate, forced)


def batch_trees(trees: Sequence[TreeArrays], copies: int = COPIES) -> TreeBatch:
    """All trees with a recorded decision, unrolled and concatenated.

    Args:
        copies: limit on the nodes of an unrolled tree (`unroll`); 1 keeps the tree merged.

    Raises:
        InvalidInput: no tree has a recorded decision.
    """
    pruned = [tree for tree in (_Pruned(tree, copies) for tree in trees) if tree.is_valid]
    if not pruned:
        raise InvalidInput("the bank holds no recorded decision; collect more rollouts")
    sizes = np.array([len(tree.step) for tree in pruned])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    shift = np.repeat(roots, sizes)

    def joined(field: str) -> NDArray[Any]:
        return np.concatenate([getattr(tree, field) for tree in pruned])

    def pointers(field: str) -> Integers:
        local = joined(field).astype(np.int64)
        return np.where(local >= 0, local + shift, local)

    step = joined("step").astype(np.int64)
    continue_to, regenerate_to = pointers("continue_to"), pointers("regenerate_to")
    strong_tokens = np.where(regenerate_to == UNKNOWN, 0.0, joined("strong_tokens"))
    draft = joined("draft_score"), joined("draft_tokens")
    strong = joined("strong_score"), joined("strong_tokens")
    scores, tokens = np.ones((len(step), step.max())), np.zeros((len(step), step.max()))
    for t in range(1, int(step.max()) + 1):
        here = np.flatnonzero(step == t)
        # Regenerated first: in merged trees a node keeps the values of the kept draft.
        for to, (score, count) in ((regenerate_to, strong), (continue_to, draft)):
            continuing = here[to[here] >= 0]
            child = to[continuing]
            scores[child], tokens[child] = scores[continuing], tokens[continuing]
            scores[child, t - 1], tokens[child, t - 1] = score[continuing], count[continuing]
    newest = np.arange(len(step)), step - 1
    scores[newest], tokens[newest] = draft
    return TreeBatch(roots, step, strong_tokens, continue_to, regenerate_to, scores, tokens)


class _Pruned:
    """A tree without paths that end in unrecorded nodes, unrolled."""

    def __init__(self, tree: TreeArrays, copies: int) -> None:
        self.step = np.asarray(tree.step)
        self.draft_score, self.draft_tokens = tree.draft_score, tree.draft_tokens
        self.strong_score, self.strong_tokens = tree.strong_score, tree.strong_tokens
        self.continue_to = np.array(tree.continue_to, dtype=np.int64)
        self.regenerate_to = np.array(tree.regenerate_to, dtype=np.int64)
        while True:
            dead = (self.continue_to == UNKNOWN) & (self.regenerate_to == UNKNOWN)
            pruned = [
                (to >= 0) & dead[np.maximum(to, 0)] for to in (self.continue_to, self.regenerate_to)
            ]
            if not np.any(pruned):
                break
            self.continue_to[pruned[0]] = UNKNOWN
            self.regenerate_to[pruned[1]] = UNKNOWN
        self.is_valid = len(self.step) > 0 and not dead[0]
        if self.is_valid:
            self._unroll(copies)

    def _unroll(self, copies: int) -> None:
        unrolled = unroll(
            self.continue_to,
            self.regenerate_to,
            (np.asarray(self.draft_score), np.asarray(self.draft_tokens)),
            (np.asarray(self.strong_score, dtype=np.float64), np.asarray(self.strong_tokens)),
            copies,
        )
        self.continue_to, self.regenerate_to = unrolled.continue_to, unrolled.regenerate_to
        for field in ("step", "draft_score", "draft_tokens", "strong_score", "strong_tokens"):
            setattr(self, field, np.asarray(getattr(self, field))[unrolled.origin])
