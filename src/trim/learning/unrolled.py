"""Merged paths of a tree taken apart again, where a router sees them differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
