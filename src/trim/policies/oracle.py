"""Oracles: policies that use the reference solutions, as upper limits for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trim.policies.policy import Policy
from trim.types import Action, Observation

StepCheck = Callable[[str, Sequence[str], str], bool]
"""(question, earlier steps, step) -> whether the step is right."""


@dataclass(frozen=True)
class Oracle(Policy):
    """Regenerates exactly the steps for which `is_right` is False."""

    is_right: StepCheck

    needs_scores = False
    name = "oracle"

    def decide(self, observation: Observation) -> Action:
        *earlier, draft = observation.steps
        right = self.is_right(observation.question, earlier, draft)
        return Action.CONTINUE if right else Action.REGENERATE


@dataclass(frozen=True)
class OracleQuery(Policy):
    """Gives a question to the strong model if only the strong model solves it.

    Attributes:
        strong_only: those questions; an evaluation adds them after solving each problem with
            both models.
    """

    strong_only: set[str] = field(default_factory=set)

    needs_scores = False
    name = "oracle-query"

    def begin(self, question: str) -> Action:
        return Action.TAKE_OVER if question in self.strong_only else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE
