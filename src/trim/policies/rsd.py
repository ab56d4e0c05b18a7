"""RSD: keep a draft whose reward is high enough (arXiv 2501.19324)."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.explanation import Explanation, compared
from trim.policies.policy import Action, Observation, Policy, named


@dataclass(frozen=True)
class RewardGuided(Policy):
    """Accepts a draft where r_t >= `threshold`, in [0, 1]; the strong model writes the others.

    Reward-guided speculative decoding with the step function as its weight, at the
    threshold that its authors use for all models and tasks, 0.7.
    """

    threshold: float = 0.7

    @property
    def name(self) -> str:
        return named("rsd", self.threshold)

    def decide(self, observation: Observation) -> Action:
        accepted = observation.scores[-1] >= self.threshold
        return Action.CONTINUE if accepted else Action.REGENERATE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(compared("score", observation.scores[-1], self.threshold))
