"""Step-level rivals with a fixed acceptance rule: RSD and SpecReason."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.policy import Explanation, Policy, describe_comparison, policy_name
from trim.scorers.grade import BEST_GRADE
from trim.types import Action, Observation


@dataclass(frozen=True)
class RewardGuided(Policy):
    """Accepts a draft if r_t >= `threshold`, in [0, 1]; otherwise the strong model writes it.

    Reward-guided speculative decoding (RSD, arXiv 2501.19324) with the step function as its
    weight, at the authors' threshold for all models and tasks, 0.7.
    """

    threshold: float = 0.7

    @property
    def name(self) -> str:
        return policy_name("rsd", self.threshold)

    def decide(self, observation: Observation) -> Action:
        accepted = observation.scores[-1] >= self.threshold
        return Action.CONTINUE if accepted else Action.REGENERATE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(describe_comparison("score", observation.scores[-1], self.threshold))


@dataclass(frozen=True)
class SpecReason(Policy):
    """Accepts a draft that the strong model grades at least `grade`, in [0, 9].

    SpecReason (arXiv 2504.07891); the authors use 7 and sweep 3 to 9.
    """

    grade: float = 7.0

    scorer = "grade"

    @property
    def name(self) -> str:
        return policy_name("specreason", self.grade)

    def decide(self, observation: Observation) -> Action:
        accepted = observation.scores[-1] >= self.grade / BEST_GRADE
        return Action.CONTINUE if accepted else Action.REGENERATE

    def explain(self, observation: Observation) -> Explanation:
        given = BEST_GRADE * observation.scores[-1]
        return Explanation(f"{describe_comparison('grade', given, self.grade)}, of {BEST_GRADE}")
