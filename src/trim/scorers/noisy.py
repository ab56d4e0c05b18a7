"""A scorer with artificial noise, for studies of a router's robustness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from trim.errors import InvalidInput
from trim.models.model import Completion, Prefix
from trim.numerics import FINEST, derive_seed, logit, sigmoid
from trim.scorers.scorer import Scorer, Scores, checked_scores
from trim.steps import join_steps

STANDARD = NormalDist()


@dataclass(frozen=True)
class NoisyScorer:
    """Adds Gaussian noise to the log-odds of every score of `scorer`.

    The noise of a step depends only on the text up to its end: scores are repeatable, and another
    `sigma` scales the same noise.

    Attributes:
        sigma: standard deviation of the noise, at least 0; 0 adds none.
    """

    scorer: Scorer
    sigma: float

    def __post_init__(self) -> None:
        check_sigma(self.sigma)

    @property
    def reads_confidence(self) -> bool:
        return getattr(self.scorer, "reads_confidence", True)

    @property
    def name(self) -> str:
        return f"{self.scorer.name}+noise:{self.sigma:g}"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        scores = await checked_scores(self.scorer, trace, written)
        first = len(trace.steps) - len(written) + 1
        return replace(
            scores,
            values=tuple(
                noisy(score, trace.until(end), self.sigma)
                for end, score in enumerate(scores.values, first)
            ),
        )


def noisy(score: float, trace: Prefix, sigma: float) -> float:
    """The score in [0, 1] of the newest step of `trace`, with noise added to its log-odds."""
    if sigma == 0:
        return score
    # 0 has no quantile.
    quantile = (derive_seed("noise", join_steps(trace.full_question, trace.steps)) + 0.5) / 2**31
    return sigmoid(logit(score, FINEST) + sigma * STANDARD.inv_cdf(quantile))


def check_sigma(sigma: float) -> None:
    """Raises InvalidInput for an invalid standard deviation."""
    if not 0 <= sigma < math.inf:
        raise InvalidInput(f"noise {sigma:g}: a standard deviation is a number from 0, as in 2")
