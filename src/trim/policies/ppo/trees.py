"""Trees of a bank laid out flat, so that thousands of episodes are walked by indexing.

Shapes: N nodes (drafts awaiting a decision) of P problems, T the deepest step. A tree may
merge paths that lead to the same text; they are taken apart where their scores differ.
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
"""Nodes that a problem may have after taking apart, unless it had more before."""


@dataclass(frozen=True)
class Unrolled:
    """Nodes of a tree, each as often as there are ways to it that a router can tell apart.

    Attributes:
        origin: (M,) the node that each is a copy of; the root is the first.
        continue_to, regenerate_to: (M,) as in the tree, but to copies.
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
    """Copy nodes that are reached by steps of the same text but of other scores.

    A bank merges what both models write alike, since the models then go on alike. Where
    the score depends on the author (`joint`, `logprob`, `entropy`) a router sees two
    different pasts, and may decide otherwise. Nodes are copied step by step from the root;
    beyond `limit` a way leads to the first copy, so what is seen there of the past is that of
    another way with the same text.

    Args:
        continue_to, regenerate_to: (N,) child or a negative number.
        kept, rewritten: score and tokens (N,) of the step that either action keeps.
    """
    figures = [
        list(zip(np.nan_to_num(score, nan=-1.0).tolist(), tokens.tolist(), strict=True))
        for score, tokens in (kept, rewritten)
    ]
    ways = list(zip((continue_to.tolist(), regenerate_to.tolist()), figures, strict=True))
    origin: list[int] = [0]
    past: list[tuple[tuple[float, float], ...]] = [()]
    pointers: tuple[list[int], list[int]] = ([], [])
    copies: dict[tuple[int, tuple[tuple[float, float], ...]], int] = {(0, ()): 0}
    first = {0: 0}
    for place, node in enumerate(origin):
        for pointer, (to, of_step) in zip(pointers, ways, strict=True):
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
"""Instead of a child: the solution ended, or the action was not recorded."""

SPECIAL = 3
"""Places kept free behind the nodes, so that these three index arrays of values as well."""


class TreeArrays(Protocol):
    """What is read of a problem's tree; each field has shape (nodes,), the root is node 0."""

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
    """Many trees, one after the other.

    Attributes:
        roots: (P,) the first node of each problem.
        step: (N,) number of the step under decision, from 1.
        strong_tokens: (N,) what regenerating costs; 0 where that was not recorded.
        continue_to, regenerate_to: (N,) the node each action leads to, or one of
            LEAF_RIGHT, LEAF_WRONG and UNKNOWN. At least one of the two is known.
        scores, tokens: (N, T) r_i and c_i of the kept steps and, at column step-1, of the
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
    def by_step(self) -> list[Integers]:
        """Nodes by step, the deepest first: values are known before they are needed."""
        return [np.flatnonzero(self.step == t) for t in range(int(self.step.max()), 0, -1)]

    @cached_property
    def free(self) -> Booleans:
        """(N,) where both actions are recorded, and a policy has a choice."""
        free: Booleans = (self.continue_to != UNKNOWN) & (self.regenerate_to != UNKNOWN)
        return free

    @cached_property
    def problem(self) -> Integers:
        """(N,) which problem a node belongs to, 0..P-1."""
        return np.searchsorted(self.roots, np.arange(len(self)), side="right") - 1

    def of_problems(self, problems: NDArray[Any]) -> TreeBatch:
        """The trees of some problems, in the order of this forest."""
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

    def allowed(self, regenerate: NDArray[Any]) -> NDArray[Any]:
        """What becomes of decisions (N,) or (N, policies): the recorded action where only
        one is.

        The approximation of a bank that is not complete: there all policies do the same.
        Wrong as far as the unrecorded action would have led elsewhere, it favours none.
        """
        shape = (-1,) + (1,) * (regenerate.ndim - 1)
        forced = (self.continue_to == UNKNOWN).reshape(shape)
        return np.where(self.free.reshape(shape), regenerate, forced)


def plant(trees: Sequence[TreeArrays], copies: int = COPIES) -> TreeBatch:
    """A forest of all trees in which anything was recorded.

    Args:
        copies: nodes that taking a tree apart may lead to (`unroll`).

    Raises:
        InvalidInput: there is none.
    """
    pruned = [tree for tree in (_Pruned(tree, copies) for tree in trees) if tree.sound]
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
        # Regenerated first: where paths stay merged, a node has the kept drafts' own figures.
        for to, (score, count) in ((regenerate_to, strong), (continue_to, draft)):
            goes_on = here[to[here] >= 0]
            child = to[goes_on]
            scores[child], tokens[child] = scores[goes_on], tokens[goes_on]
            scores[child, t - 1], tokens[child, t - 1] = score[goes_on], count[goes_on]
    newest = np.arange(len(step)), step - 1
    scores[newest], tokens[newest] = draft
    return TreeBatch(roots, step, strong_tokens, continue_to, regenerate_to, scores, tokens)


class _Pruned:
    """A tree whose paths into nothing are marked as unknown, up to its root, and unrolled."""

    def __init__(self, tree: TreeArrays, copies: int) -> None:
        self.step = np.asarray(tree.step)
        self.draft_score, self.draft_tokens = tree.draft_score, tree.draft_tokens
        self.strong_score, self.strong_tokens = tree.strong_score, tree.strong_tokens
        self.continue_to = np.array(tree.continue_to, dtype=np.int64)
        self.regenerate_to = np.array(tree.regenerate_to, dtype=np.int64)
        while True:
            dead = (self.continue_to == UNKNOWN) & (self.regenerate_to == UNKNOWN)
            lost = [
                (to >= 0) & dead[np.maximum(to, 0)] for to in (self.continue_to, self.regenerate_to)
            ]
            if not np.any(lost):
                break
            self.continue_to[lost[0]] = UNKNOWN
            self.regenerate_to[lost[1]] = UNKNOWN
        self.sound = len(self.step) > 0 and not dead[0]
        if self.sound:
            self._unroll(copies)

    def _unroll(self, copies: int) -> None:
        apart = unroll(
            self.continue_to,
            self.regenerate_to,
            (np.asarray(self.draft_score), np.asarray(self.draft_tokens)),
            (np.asarray(self.strong_score, dtype=np.float64), np.asarray(self.strong_tokens)),
            copies,
        )
        self.continue_to, self.regenerate_to = apart.continue_to, apart.regenerate_to
        for field in ("step", "draft_score", "draft_tokens", "strong_score", "strong_tokens"):
            setattr(self, field, np.asarray(getattr(self, field))[apart.origin])
