"""One figure for a whole solution, from the scores of its steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from trim.policies.policy import Observation


class Verdict(StrEnum):
    """How step scores become one figure in [0, 1]."""

    LOWEST = "lowest"
    PRODUCT = "product"
    MEAN = "mean"
    """The geometric mean, each step weighted by its tokens. Of the scores `logprob` this
    is exp(mean log-probability of all tokens)."""


def verdict(kind: Verdict, scores: Sequence[float], tokens: Sequence[int], answered: bool) -> float:
    """The verdict on a solution, in [0, 1]; 0 where it has no answer, which cannot be right.

    Args:
        scores, tokens: of each step, at least one.
        answered: whether the solution holds a boxed answer, or its author has ended it.
    """
    if not answered:
        return 0.0
    match kind:
        case Verdict.LOWEST:
            return min(scores)
        case Verdict.PRODUCT:
            return math.prod(scores)
        case Verdict.MEAN:
            total = sum(
                weight * math.log(max(score, 1e-300))
                for score, weight in zip(scores, tokens, strict=True)
            )
            return math.exp(total / max(sum(tokens), 1))


def solution_verdict(observation: Observation, kind: Verdict) -> float:
    """`verdict` on the solution that an observation of its last draft shows."""
    return verdict(kind, observation.scores, observation.tokens, observation.answered)
