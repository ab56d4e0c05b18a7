"""Oracles: policies that use the reference solutions, as upper limits for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trim.policies.policy import Policy, TokenObservation
from trim.policies.span import ONE_TOKEN, Extent
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


RightStep = Callable[[str, Sequence[str]], str | None]
"""(question, earlier steps) -> the right next step; None if there is none."""


@dataclass(frozen=True)
class OracleToken(Policy):
    """The strong model writes each token with which a draft leaves the right step.

    An upper limit for all policies of single tokens. Nothing is rewritten once the step is wrong.
    """

    right_step: RightStep

    needs_scores = False
    inside_steps = True
    name = "oracle-token"

    def at_token(self, observation: TokenObservation) -> Extent | None:
        right = self.right_step(observation.question, observation.steps)
        begun = observation.before
        if right is None or not right.startswith(begun.rstrip()):
            return None
        written = begun + observation.token.text
        agrees = right.startswith(written) or written.rstrip() == right
        ends_early = not observation.token.text and begun.rstrip() != right
        return ONE_TOKEN if ends_early or not agrees else None

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE


@dataclass(frozen=True)
class OracleQuery(Policy):
    """Gives a question to the strong model if only the strong model solves it.

    Attributes:
        strong_only: those questions; an evaluation adds them after solving each problem with
            both models.
    """

    strong_only: set[str] = field(default_factory=set)

    needs_scores = False
    keeps_drafts = True
    name = "oracle-query"

    def begin(self, question: str) -> Action:
        return Action.TAKE_OVER if question in self.strong_only else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE
