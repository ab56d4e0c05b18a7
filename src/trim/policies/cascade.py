"""A cascade of whole solutions: the strong model solves what the weak one did badly."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.explanation import Explanation, compared
from trim.policies.policy import Action, Observation, Policy, named
from trim.policies.verdict import Verdict, solution_verdict


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
        low = solution_verdict(observation, Verdict.LOWEST) < self.threshold or self.threshold == 1
        return Action.RESTART if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if not observation.last:
            return Explanation("it decides when the whole solution is there")
        lowest = solution_verdict(observation, Verdict.LOWEST)
        return Explanation(compared("the lowest score,", lowest, self.threshold))
