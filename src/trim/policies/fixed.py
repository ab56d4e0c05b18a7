"""Baselines: the weak model alone, the strong model alone, and a random mix."""

from __future__ import annotations

from dataclasses import dataclass

from trim.numerics import uniform
from trim.policies.policy import Explanation, Policy, describe_comparison, policy_name
from trim.types import Action, Observation


class WeakAlone(Policy):
    """Keeps every draft."""

    needs_scores = False
    keeps_drafts = True
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
    """Regenerates each step with probability `share`, in [0, 1].

    The random number of a step depends only on question, step and seed. A larger share
    therefore rewrites a superset of the steps while the traces agree.
    """

    share: float

    needs_scores = False

    @property
    def name(self) -> str:
        return policy_name("random", self.share)

    def decide(self, observation: Observation) -> Action:
        return Action.REGENERATE if self._draw(observation) < self.share else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(
            describe_comparison("random number", self._draw(observation), self.share)
        )

    def _draw(self, observation: Observation) -> float:
        return uniform("random", observation.seed, observation.question, len(observation.steps))
