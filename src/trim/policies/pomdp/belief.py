"""What to believe about a trace: P(S0), P(S1), P(S2) from its scores."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trim.policies.pomdp.observations import Observations
from trim.policies.pomdp.process import Floats, Process

DOUBT = 0.4
"""The method regenerates only if P(S2) is within this of the likeliest state's."""


class Belief(StrEnum):
    """How a router comes to its belief."""

    UNIFORM = "uniform"
    """The method's: posterior of the newest pair under a uniform prior (arXiv 2601.10245)."""
    PAIRS = "pairs"
    """Bayes filter over the trace, each kept step seen as its pair (lowest earlier, newest)."""
    NEWEST = "newest"
    """Bayes filter over the trace, each kept step seen by its own score alone."""


@dataclass(frozen=True)
class Filter:
    """Beliefs from traces.

    The filters know who wrote each step: a draft that was kept, or the strong model's step
    that replaced one. Of a rewritten step they see the score of what was kept; that of the
    draft before it is gone with the draft.
    """

    process: Process
    observations: Observations
    kind: Belief

    def belief(
        self, scores: Sequence[float], rewritten: Sequence[bool]
    ) -> tuple[float, float, float]:
        """P(S0), P(S1), P(S2) of a trace whose newest step is a draft.

        Args:
            scores: r_1..r_t in [0, 1], of kept steps and of the draft.
            rewritten: for each of the steps 1..t-1 whether the strong model wrote it.
        """
        if self.kind is Belief.UNIFORM:
            l0, l1, l2 = self.likelihood(min(scores[:-1], default=1.0), scores[-1])
            total = l0 + l1 + l2
            return l0 / total, l1 / total, l2 / total
        rewriting, drafting, redrafting = self._tables
        b0, b1, b2 = drafting[0]
        lowest = 1.0
        for score, strong in zip(scores, (*rewritten, False), strict=True):
            if strong:
                b0, b1, b2 = moved(b0, b1, b2, rewriting)
            l0, l1, l2 = self.likelihood(lowest, score)
            b0, b1, b2 = b0 * l0, b1 * l1, b2 * l2
            total = b0 + b1 + b2
            right, lost, mendable = b0 / total, b1 / total, b2 / total
            b0, b1, b2 = moved(right, lost, mendable, redrafting if strong else drafting)
            lowest = min(lowest, score)
        return right, lost, mendable

    def likelihood(self, lowest: float, newest: float) -> tuple[float, float, float]:
        if self.kind is Belief.NEWEST:
            return self._newest[bisect_right(self._edges, newest)]
        bins = len(self._pairs)
        row = self._pairs[min(int(lowest * bins), bins - 1)]
        return row[min(int(newest * bins), bins - 1)]

    def likelihoods(self, lowest: Floats, newest: Floats) -> Floats:
        """(n, 3) the same for arrays of scores."""
        if self.kind is Belief.NEWEST:
            bins = np.searchsorted(self.observations.newest_edges, newest, side="right")
            return possible(self.observations.newest)[bins]
        side = len(self._pairs)
        return possible(self.observations.pairs)[bins_of(lowest, side), bins_of(newest, side)]

    @cached_property
    def _newest(self) -> list[tuple[float, float, float]]:
        return [(l0, l1, l2) for l0, l1, l2 in possible(self.observations.newest).tolist()]

    @cached_property
    def _edges(self) -> list[float]:
        edges: list[float] = self.observations.newest_edges.tolist()
        return edges

    @cached_property
    def _pairs(self) -> list[list[tuple[float, float, float]]]:
        rows = possible(self.observations.pairs).tolist()
        return [[(l0, l1, l2) for l0, l1, l2 in row] for row in rows]

    @cached_property
    def _tables(self) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
        process = self.process
        return (
            process.rewriting.tolist(),
            process.drafting.tolist(),
            process.redrafting.tolist(),
        )


def moved(b0: float, b1: float, b2: float, table: list[list[float]]) -> tuple[float, float, float]:
    """A belief after a transition."""
    (a, b, c), (d, e, f), (g, h, i) = table
    return b0 * a + b1 * d + b2 * g, b0 * b + b1 * e + b2 * h, b0 * c + b1 * f + b2 * i


def possible(table: Floats) -> Floats:
    """Likelihoods of which none is 0, so that no trace contradicts the model."""
    return np.maximum(table, 1e-12)


def bins_of(scores: Floats, bins: int) -> NDArray[np.int64]:
    return np.minimum((scores * bins).astype(np.int64), bins - 1)
