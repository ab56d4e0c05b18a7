"""Routers that know what no router can know: the limits for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trim.policies.policy import Policy
from trim.types import Action, Observation

StepCheck = Callable[[str, Sequence[str], str], bool]
"""Question, earlier steps and step: whether the step is right."""


@dataclass(frozen=True)
class Oracle(Policy):
    """Regenerates exactly the steps that `is_right` finds wrong."""

    is_right: StepCheck

    needs_scores = False
    name = "oracle"

    def decide(self, observation: Observation) -> Action:
        *earlier, draft = observation.steps
        right = self.is_right(observation.question, earlier, draft)
        return Action.CONTINUE if right else Action.REGENERATE


@dataclass(frozen=True)
class OracleQuery(Policy):
    """Gives a problem to the strong model where only that one solves it.

    Attributes:
        strong_only: those questions; an evaluation fills it in after it has solved
            each problem with both models.
    """

    strong_only: set[str] = field(default_factory=set)

    needs_scores = False
    name = "oracle-query"

    def begin(self, question: str) -> Action:
        return Action.TAKE_OVER if question in self.strong_only else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE
