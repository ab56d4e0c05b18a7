"""The two ends of every curve: one model alone."""

from __future__ import annotations

from trim.policies.explanation import Explanation
from trim.policies.policy import Action, Observation, Policy


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
