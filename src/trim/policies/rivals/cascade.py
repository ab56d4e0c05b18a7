"""A cascade: the strong model solves again what the weak model solved with low scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from trim.policies.policy import Explanation, Policy, describe_comparison, policy_name
from trim.types import Action, Observation


class ScoreSummary(StrEnum):
    """How the step scores of a solution become one number in [0, 1]."""

    LOWEST = "lowest"
    PRODUCT = "product"
    MEAN = "mean"
    """Geometric mean, each step weighted by its tokens. For scores of the kind `logprob` it is
    exp(mean log-probability of all tokens)."""


def summarise(
    kind: ScoreSummary, scores: Sequence[float], tokens: Sequence[int], answered: bool
) -> float:
    """The summary of a solution's scores, in [0, 1]; 0 for a solution without an answer.

    Args:
        scores, tokens: one for each step, at least one.
        answered: whether the solution has a boxed answer or its author ended it.
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


def summarise_solution(observation: Observation, kind: ScoreSummary) -> float:
    """`summarise` of the solution in an observation of its last draft."""
    return summarise(kind, observation.scores, observation.tokens, observation.answered)


UNFINISHED = "decides after the whole solution"
"""The explanation of query-level policies at the steps before the last."""


@dataclass(frozen=True)
class Cascade(Policy):
    """Discards the weak model's solution if its lowest step score is below `threshold`.

    FrugalGPT's cascade (arXiv 2305.05176) with the step scorer as its judge. A solution
    without an answer scores 0.

    Attributes:
        threshold: in [0, 1]; 0 never restarts, 1 always does.
    """

    restarts = True

    threshold: float

    @property
    def name(self) -> str:
        return policy_name("cascade", self.threshold)

    def decide(self, observation: Observation) -> Action:
        if not observation.last:
            return Action.CONTINUE
        lowest = summarise_solution(observation, ScoreSummary.LOWEST)
        low = lowest < self.threshold or self.threshold == 1
        return Action.RESTART if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if not observation.last:
            return Explanation(UNFINISHED)
        lowest = summarise_solution(observation, ScoreSummary.LOWEST)
        return Explanation(describe_comparison("lowest score", lowest, self.threshold))
