"""The two ends of every curve: one model alone."""

from __future__ import annotations

from dataclasses import dataclass

from trim.numerics import uniform
from trim.policies.policy import Explanation, Policy, compared, named
from trim.types import Action, Observation


class WeakAlone(Policy):
    """Keeps every draft."""

    needs_scores = False
    name = "weak"

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation("the weak model solves alone")


class StrongAlone(Policy):
    """The strong model writes the whole solution; nothing is drafted."""

    needs_scores = False
    name = "strong"

    def begin(self, question: str) -> Action:
        return Action.TAKE_OVER

    def decide(self, observation: Observation) -> Action:
        return Action.TAKE_OVER

    def explain(self, observation: Observation) -> Explanation:
        return Explanation("the strong model solves alone")


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
