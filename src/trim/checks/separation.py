"""Separation of right from wrong steps by their scores, judged from few samples."""

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
"""Right steps, and wrong steps, below which the result is unclear."""
ONE_IN_TWENTY = 1.645
"""Standard deviations that chance exceeds in one of twenty trials."""


class ScorerFitness(StrEnum):
    """Whether a scorer is fit for routing."""

    FIT = "fit"
    UNFIT = "unfit"
    UNCLEAR = "unclear"
    """There are too few samples."""


@dataclass(frozen=True)
class Separation:
    """The scores of right steps and of wrong steps.

    The measure is the AUC-ROC: the share of pairs of a right and a wrong step in which the right
    one has the higher score; ties count half. Steps of different problems are compared as well,
    since a threshold is the same for all.

    The first rule that applies decides:

    1. With fewer than 5 right or 5 wrong steps it is unclear.
    2. With an AUC below 0.7 (not fit for thresholding, arXiv 2601.10245), or means that differ by
       less than 0.01, it is unfit.
    3. With an AUC that random scores exceed in one of twenty trials, by the normal approximation
       of the Mann-Whitney U, it is unclear. That is 0.698 for 12 right and 12 wrong steps, 0.718
       for 10 and 10, and 0.815 for 5 and 5.
    4. Otherwise it is fit.

    A scorer with a true AUC of 0.8 is found unfit in one of seven trials with 10 and 10 steps, so
    measure a figure near 0.7 again on a bank of your own problems (`trim audit`).

    Attributes:
        right, wrong: scores in [0, 1].
    """

    right: tuple[float, ...]
    wrong: tuple[float, ...]

    @property
    def auc(self) -> float | None:
        """AUC-ROC in [0, 1]; None without right or without wrong steps."""
        if not self.right or not self.wrong:
            return None
        known = [True] * len(self.right) + [False] * len(self.wrong)
        return area_under_curve(np.array(known), np.array([*self.right, *self.wrong]))

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Mean scores of right and of wrong steps; None without such steps."""
        right, wrong = (
            statistics.fmean(scores) if scores else None for scores in (self.right, self.wrong)
        )
        return right, wrong

    @property
    def chance(self) -> float:
        """The AUC that random scores exceed in one of twenty trials."""
        m, k = len(self.right), len(self.wrong)
        return 0.5 + ONE_IN_TWENTY * math.sqrt((m + k + 1) / (12 * m * k)) if m and k else 1.0

    @property
    def enough(self) -> bool:
        """Whether there are at least 5 right and 5 wrong steps."""
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
        """Why the scorer is unfit or unclear, for an error message."""
        m, k = len(self.right), len(self.wrong)
        right, wrong = self.means
        if not self.enough or right is None or wrong is None:
            return f"too few samples: {m} right and {k} wrong steps"
        pairs = f"a right step scores above a wrong one in {self.auc:.2f} of the pairs"
        if self.fitness is ScorerFitness.UNCLEAR:
            return f"too few samples: {pairs}, and chance reaches {self.chance:.2f}"
        means = f"right steps have the mean score {right:.2f} and wrong ones {wrong:.2f}"
        return f"{means}; {pairs}, and {FIT} or more are needed"
