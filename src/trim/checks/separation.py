"""Whether scores tell right steps from wrong ones, judged by few samples."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trim.metrics.metrics import FIT, area_under_curve

MARGIN = 0.01
"""Least difference of the two mean scores: thresholds are given in hundredths."""
FEWEST = 5
"""Right steps, and wrong ones, without which nothing is said."""
ONE_IN_TWENTY = 1.645
"""Standard deviations that chance alone exceeds in one of twenty trials."""


class ScorerFitness(StrEnum):
    """What a separation says of a scorer."""

    FIT = "fit"
    UNFIT = "unfit"
    UNCLEAR = "unclear"
    """There are not enough samples to tell."""


@dataclass(frozen=True)
class Separation:
    """The scores of steps that are known to be right, and of those known to be wrong.

    The measure is the AUC-ROC: the share of all pairs of a right and a wrong step in which the
    right one has the higher score, ties counted half. A threshold is the same for all steps, so
    steps of different problems are compared as well.

    The first of these rules that holds decides:

    1. With fewer than 5 right or 5 wrong steps it is unclear.
    2. With an AUC below 0.7 (where a scorer is not fit for thresholding, arXiv 2601.10245), or
       means that differ by less than 0.01, it is unfit.
    3. With an AUC that scores without any information would exceed in one of twenty trials, by
       the normal approximation of the Mann-Whitney U, it is unclear. With 12 right and 12 wrong
       steps that is 0.698, with 10 and 10 it is 0.718, with 5 and 5 it is 0.815.
    4. Otherwise it is fit.

    A scorer whose AUC is 0.8 is called unfit in one of seven trials with 10 and 10 steps. So a
    figure near 0.7 should be looked at again on a bank of one's own problems (`trim audit`).

    Attributes:
        right, wrong: scores in [0, 1].
    """

    right: tuple[float, ...]
    wrong: tuple[float, ...]

    @property
    def auc(self) -> float | None:
        """In [0, 1]; None without a right or without a wrong step."""
        if not self.right or not self.wrong:
            return None
        known = [True] * len(self.right) + [False] * len(self.wrong)
        return area_under_curve(np.array(known), np.array([*self.right, *self.wrong]))

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Of the right and of the wrong steps; None where there are none."""
        right, wrong = (
            statistics.fmean(scores) if scores else None for scores in (self.right, self.wrong)
        )
        return right, wrong

    @property
    def chance(self) -> float:
        """The AUC that scores without any information exceed in one of twenty trials."""
        m, k = len(self.right), len(self.wrong)
        return 0.5 + ONE_IN_TWENTY * math.sqrt((m + k + 1) / (12 * m * k)) if m and k else 1.0

    @property
    def enough(self) -> bool:
        """Whether there are so many samples that something may be said."""
        return min(len(self.right), len(self.wrong)) >= FEWEST

    @property
    def fitness(self) -> ScorerFitness:
        auc, (right, wrong) = self.auc, self.means
        if not self.enough:
            return ScorerFitness.UNCLEAR
        assert auc is not None and right is not None and wrong is not None
        if auc < FIT or right - wrong < MARGIN:
            return ScorerFitness.UNFIT
        return ScorerFitness.UNCLEAR if auc < self.chance else ScorerFitness.FIT

    @property
    def reason(self) -> str:
        """Why it is unfit or unclear, in part of a sentence."""
        m, k = len(self.right), len(self.wrong)
        right, wrong = self.means
        if not self.enough or right is None or wrong is None:
            return f"not enough samples to tell: {m} right and {k} wrong steps"
        pairs = f"a right step scores above a wrong one in {self.auc:.2f} of the pairs"
        if self.fitness is ScorerFitness.UNCLEAR:
            return (
                f"not enough samples to tell: {pairs}, and chance alone reaches {self.chance:.2f}"
            )
        means = f"right steps have the mean score {right:.2f} and wrong ones {wrong:.2f}"
        return f"{means}; {pairs}, and {FIT} or more are needed"
