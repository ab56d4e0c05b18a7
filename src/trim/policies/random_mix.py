"""Rewrites steps by chance: what a router without any knowledge achieves."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.explanation import Explanation, compared
from trim.policies.policy import Action, Observation, Policy, named
from trim.seeds import uniform


@dataclass(frozen=True)
class RandomMix(Policy):
    """Regenerates each step with probability `share`.

    The number drawn for a step depends on question, step and seed alone, so a larger
    share rewrites a superset of the steps as long as the traces agree.
    """

    share: float

    needs_scores = False

    @property
    def name(self) -> str:
        return named("random", self.share)

    def decide(self, observation: Observation) -> Action:
        return Action.REGENERATE if self._draw(observation) < self.share else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(compared("the number drawn,", self._draw(observation), self.share))

    def _draw(self, observation: Observation) -> float:
        return uniform("random", observation.seed, observation.question, len(observation.steps))
