"""One model answers whole, in one request: the policy of an answer that is not routed."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.policy import Explanation, Policy
from trim.types import Action, Author, Observation

PREFIX = "whole:"
"""Begins the name of the policy of an answer outside the scope of routing."""


def is_outside(policy: str) -> bool:
    """Whether the policy of this name answers what is outside the scope of routing."""
    return policy.startswith(PREFIX)


@dataclass(frozen=True)
class WholeAnswer(Policy):
    """No step is drafted, scored or decided.

    Attributes:
        role: of the model: `weak`, `intermediate-1`, …, `strong`.
        reason: why the answer is not routed; a clause without a full stop.
        prompted: whether the model reads its own prompt around the question.
        named: the policy that clients and records see; `whole:ROLE` by default.
    """

    role: str
    reason: str
    prompted: bool = False
    named: str = ""

    needs_scores = False

    @property
    def name(self) -> str:
        return self.named or f"{PREFIX}{self.role}"

    @property
    def spans_are_final(self) -> bool:
        return True

    def begin(self, question: str) -> Action:
        return Action.TAKE_OVER if self.role == Author.STRONG else Action.CONTINUE

    def decide(self, observation: Observation) -> Action:
        return Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Explanation(self.reason)
