"""A cascade of whole solutions: the strong model solves what the weak one did badly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trim.policies.policy import Explanation, Policy, compared, named
from trim.types import Action, Observation


class ScoreSummary(StrEnum):
    """How step scores become one figure in [0, 1]."""

    LOWEST = "lowest"
    PRODUCT = "product"
    MEAN = "mean"
    """The geometric mean, each step weighted by its tokens. Of the scores `logprob` this
    is exp(mean log-probability of all tokens)."""


def verdict(
    kind: ScoreSummary, scores: Sequence[float], tokens: Sequence[int], answered: bool
) -> float:
    """The verdict on a solution, in [0, 1]; 0 where it has no answer, which cannot be right.

    Args:
        scores, tokens: of each step, at least one.
        answered: whether the solution holds a boxed answer, or its author has ended it.
    """
    if not answered:
        return 0.0
    match kind:
        case ScoreSummary.LOWEST:
            return min(scores)
        case ScoreSummary.PRODUCT:
            return math.prod(scores)
        case ScoreSummary.MEAN:
            total = sum(
                weight * math.log(max(score, 1e-300))
                for score, weight in zip(scores, tokens, strict=True)
            )
            return math.exp(total / max(sum(tokens), 1))


def solution_verdict(observation: Observation, kind: ScoreSummary) -> float:
    """`verdict` on the solution that an observation of its last draft shows."""
    return verdict(kind, observation.scores, observation.tokens, observation.answered)


@dataclass(frozen=True)
class Cascade(Policy):
    """The weak model solves the problem alone; below `threshold` all of it is thrown away.

    What counts is the lowest score of a step, and 0 for a solution without an answer,
    as in FrugalGPT's cascade (arXiv 2305.05176) with a process reward model as its
    judge. `threshold` 0 never restarts and 1 always does.
    """

    restarts = True

    threshold: float

    @property
    def name(self) -> str:
        return named("cascade", self.threshold)

    def decide(self, observation: Observation) -> Action:
        if not observation.last:
            return Action.CONTINUE
        low = (
            solution_verdict(observation, ScoreSummary.LOWEST) < self.threshold
            or self.threshold == 1
        )
        return Action.RESTART if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if not observation.last:
            return Explanation("it decides when the whole solution is there")
        lowest = solution_verdict(observation, ScoreSummary.LOWEST)
        return Explanation(compared("the lowest score,", lowest, self.threshold))
