"""TRIM-Thr: regenerate the steps whose score is below a threshold."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.policy import Explanation, Policy, describe_comparison, policy_name
from trim.types import Action, Observation


@dataclass(frozen=True)
class Threshold(Policy):
    """Regenerates if r_t < k (arXiv 2601.10245, TRIM-Thr).

    Attributes:
        threshold: k in [0, 1]; 0 never regenerates, 1 always does, even at a score of 1.
    """

    threshold: float

    @property
    def name(self) -> str:
        return policy_name("thr", self.threshold)

    def decide(self, observation: Observation) -> Action:
        low = observation.scores[-1] < self.threshold or self.threshold == 1
        return Action.REGENERATE if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if self.threshold == 1:
            return Explanation("at a threshold of 1 every draft is rewritten")
        return Explanation(describe_comparison("score", observation.scores[-1], self.threshold))

    def expects_intervention(self, observation: Observation) -> bool:
        """Whether the newest score is below the midpoint of the threshold and 1."""
        return bool(observation.scores) and observation.scores[-1] < (1 + self.threshold) / 2


@dataclass(frozen=True)
class Takeover(Policy):
    """The strong model writes the rest after the first score below `threshold`, in [0, 1]."""

    threshold: float

    @property
    def name(self) -> str:
        return policy_name("takeover", self.threshold)

    def decide(self, observation: Observation) -> Action:
        low = Threshold(self.threshold).decide(observation) is Action.REGENERATE
        return Action.TAKE_OVER if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Threshold(self.threshold).explain(observation)
