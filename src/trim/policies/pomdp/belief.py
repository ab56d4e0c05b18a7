"""Beliefs P(S0), P(S1), P(S2) of a trace from its scores."""

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

REPAIRABLE_MARGIN = 0.4
"""The paper regenerates only if P(S2) is within this of the largest probability."""


class BeliefKind(StrEnum):
    """How a belief is computed from scores."""

    UNIFORM = "uniform"
    """Posterior of the newest pair of scores under a uniform prior (arXiv 2601.10245)."""
    PAIRS = "pairs"
    """Bayes filter; the observation of a step is the pair (lowest earlier, newest) score."""
    NEWEST = "newest"
    """Bayes filter; the observation of a step is its own score."""


@dataclass(frozen=True)
class BeliefFilter:
    """Computes the belief of a trace.

    The Bayes filters use the transition of each step's author. For a rewritten step they use
    the score of the strong model's text, not of the discarded draft.

    Attributes:
        process: transitions of the hidden state.
        observations: P(score | state).
        kind: how the belief is computed.
    """

    process: Process
    observations: Observations
    kind: BeliefKind

    def belief(
        self, scores: Sequence[float], rewritten: Sequence[bool]
    ) -> tuple[float, float, float]:
        """P(S0), P(S1), P(S2) of a trace whose newest step is a draft.

        Args:
            scores: (t,) in [0, 1], of the kept steps and the draft.
            rewritten: (t - 1,) whether the strong model wrote each kept step.
        """
        if self.kind is BeliefKind.UNIFORM:
            l0, l1, l2 = self.likelihood(min(scores[:-1], default=1.0), scores[-1])
            total = l0 + l1 + l2
            return l0 / total, l1 / total, l2 / total
        rewriting, drafting, redrafting = self._tables
        b0, b1, b2 = drafting[0]
        lowest = 1.0
        for score, strong in zip(scores, (*rewritten, False), strict=True):
            if strong:
                b0, b1, b2 = transition(b0, b1, b2, rewriting)
            l0, l1, l2 = self.likelihood(lowest, score)
            b0, b1, b2 = b0 * l0, b1 * l1, b2 * l2
            total = b0 + b1 + b2
            right, lost, repairable = b0 / total, b1 / total, b2 / total
            b0, b1, b2 = transition(right, lost, repairable, redrafting if strong else drafting)
            lowest = min(lowest, score)
        return right, lost, repairable

    def likelihood(self, lowest: float, newest: float) -> tuple[float, float, float]:
        """P(observation | S0), P(. | S1), P(. | S2), each at least 1e-12."""
        if self.kind is BeliefKind.NEWEST:
            return self._newest[bisect_right(self._edges, newest)]
        bins = len(self._pairs)
        row = self._pairs[min(int(lowest * bins), bins - 1)]
        return row[min(int(newest * bins), bins - 1)]

    def likelihoods(self, lowest: Floats, newest: Floats) -> Floats:
        """(n, 3) `likelihood` for arrays (n,) of scores."""
        if self.kind is BeliefKind.NEWEST:
            bins = np.searchsorted(self.observations.newest_edges, newest, side="right")
            return positive(self.observations.newest)[bins]
        side = len(self._pairs)
        return positive(self.observations.pairs)[
            bin_indices(lowest, side), bin_indices(newest, side)
        ]

    @cached_property
    def _newest(self) -> list[tuple[float, float, float]]:
        return [(l0, l1, l2) for l0, l1, l2 in positive(self.observations.newest).tolist()]

    @cached_property
    def _edges(self) -> list[float]:
        edges: list[float] = self.observations.newest_edges.tolist()
        return edges

    @cached_property
    def _pairs(self) -> list[list[tuple[float, float, float]]]:
        rows = positive(self.observations.pairs).tolist()
        return [[(l0, l1, l2) for l0, l1, l2 in row] for row in rows]

    @cached_property
    def _tables(self) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
        process = self.process
        return (
            process.rewriting.tolist(),
            process.drafting.tolist(),
            process.redrafting.tolist(),
        )


def transition(
    b0: float, b1: float, b2: float, table: list[list[float]]
) -> tuple[float, float, float]:
    """The belief after a (3, 3) transition table."""
    (a, b, c), (d, e, f), (g, h, i) = table
    return b0 * a + b1 * d + b2 * g, b0 * b + b1 * e + b2 * h, b0 * c + b1 * f + b2 * i


def positive(table: Floats) -> Floats:
    """Likelihoods of at least 1e-12: no trace contradicts the model."""
    return np.maximum(table, 1e-12)


def bin_indices(scores: Floats, bins: int) -> NDArray[np.int64]:
    """Indices of equal bins of [0, 1]; a score of 1 is in the last one."""
    return np.minimum((scores * bins).astype(np.int64), bins - 1)
