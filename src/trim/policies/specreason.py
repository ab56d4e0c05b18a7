"""SpecReason: the strong model grades each draft and rewrites those it finds poor."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.explanation import Explanation, compared
from trim.policies.policy import Action, Observation, Policy, named
from trim.scorers.grade import BEST_GRADE


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
