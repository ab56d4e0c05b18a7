"""SpecReason: the strong model grades each draft and rewrites those it finds poor."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.policy import Explanation, Policy, compared, named
from trim.scorers.grade import BEST_GRADE
from trim.types import Action, Observation


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


@dataclass(frozen=True)
class SpecReason(Policy):
    """Accepts a draft whose grade is at least `grade`, in [0, 9] (arXiv 2504.07891).

    7 is the authors' setting; they sweep 3 to 9.
    """

    grade: float = 7.0

    scorer = "grade"

    @property
    def name(self) -> str:
        return named("specreason", self.grade)

    def decide(self, observation: Observation) -> Action:
        accepted = observation.scores[-1] >= self.grade / BEST_GRADE
        return Action.CONTINUE if accepted else Action.REGENERATE

    def explain(self, observation: Observation) -> Explanation:
        given = BEST_GRADE * observation.scores[-1]
        return Explanation(f"{compared('the grade', given, self.grade)}, of {BEST_GRADE}")
