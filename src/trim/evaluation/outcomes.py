"""What policies did with the same problems, as two matrices: all that curves are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trim.evaluation.curve import Curve
from trim.evaluation.metrics import Array
from trim.evaluation.summary import Solved, correctness, split_name


@dataclass(frozen=True)
class Outcomes:
    """Answers and costs of P policies on n problems.

    Attributes:
        names: of the policies; `weak` and `strong` are among them.
        right: (P, n) 1 where the answer is right, else 0.
        tokens: (P, n) tokens that the strong model decoded.
    """

    names: tuple[str, ...]
    right: Array
    tokens: Array

    @cached_property
    def families(self) -> dict[str, list[int]]:
        """Rows of each family that has settings, in the order of `names`."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            family, setting = split_name(name)
            if setting is not None:
                rows.setdefault(family, []).append(row)
        return rows

    def row(self, name: str) -> int:
        return self.names.index(name)

    def shares(self, weights: Array | None = None) -> Array:
        """(P,) strong tokens as a share c of those of the strong model alone.

        Args:
            weights: (n,) of the problems, with the sum 1; None weighs all the same.
        """
        tokens = self._mean(self.tokens, weights)
        return np.asarray(tokens / tokens[self.row("strong")])

    def accuracies(self, weights: Array | None = None) -> Array:
        """(P,) share of right answers; `weights` as for `shares`."""
        return self._mean(self.right, weights)

    def curves(self, weights: Array | None = None) -> dict[str, Curve]:
        """The curve of each of `families`; `weights` as for `shares`."""
        accuracies, shares = self.accuracies(weights), self.shares(weights)
        strong = self.row("strong")
        return {
            family: Curve(
                weak_accuracy=float(accuracies[self.row("weak")]),
                strong_accuracy=float(accuracies[strong]),
                strong_tokens_mean=float(self._mean(self.tokens, weights)[strong]),
                points=tuple(zip(shares[rows].tolist(), accuracies[rows].tolist(), strict=True)),
            )
            for family, rows in self.families.items()
        }

    @staticmethod
    def _mean(figures: Array, weights: Array | None) -> Array:
        return np.asarray(figures.mean(axis=1) if weights is None else figures @ weights)


def outcomes_of(solved: Solved, names: Sequence[str]) -> Outcomes:
    """The outcomes of the policies `names`, whose traces are all in the same order."""
    return Outcomes(
        tuple(names),
        np.array([correctness(solved[name]) for name in names]),
        np.array([[trace.strong_tokens for trace in solved[name]] for name in names], dtype=float),
    )
