"""TRIM-POMDP: rewrite where the plan says that it pays, at what the scores let one believe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trim.errors import InvalidInput
from trim.policies.policy import Explanation, FittedPolicy, Priced, States
from trim.policies.pomdp.belief import DOUBT, Belief, Filter
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.problem import Plan
from trim.scorers.scorer import KINDS
from trim.types import Action, Observation


@dataclass(frozen=True)
class Pomdp(FittedPolicy):
    """Regenerates where Q(regenerate) > Q(continue) (arXiv 2601.10245, TRIM-POMDP).

    Unlike the authors' table of solver runs the plan is one for all steps, beliefs and
    lengths, and the belief may be a filter over the whole trace. Made by `read_pomdp` from
    a file that `trim fit` has fitted.

    Attributes:
        plan: for a reward of 1; its price is lambda, in right answers a strong token.
        filter: how the belief comes about.
        scorer: the kind of score that the model was fitted to, None if the file names none.
    """

    plan: Plan
    filter: Filter
    scorer: str | None = None

    @property
    def name(self) -> str:
        return self.named("pomdp", self.plan.problem.price)

    def decide(self, observation: Observation) -> Action:
        right, repairable, lost = states = states_of(self.filter, observation)
        if self.filter.kind is Belief.UNIFORM and repairable < max(right, lost) - DOUBT:
            return Action.CONTINUE
        pays = self.gain(states, observation) > self.price * observation.tokens[-1]
        return Action.REGENERATE if pays else Action.CONTINUE

    @property
    def price(self) -> float:
        """lambda, in right answers a strong token."""
        return self.plan.problem.price

    def gain(self, states: States, observation: Observation) -> float:
        """Right answers that rewriting the draft earns more than keeping it."""
        right, repairable, lost = states
        if not observation.last:
            return self.plan.gain(len(observation.scores), right, lost)
        keep, rewrite = self.plan.problem.process.finishing
        return float(
            right * (rewrite[0] - keep[0])
            + lost * (rewrite[1] - keep[1])
            + repairable * (rewrite[2] - keep[2])
        )

    def explain(self, observation: Observation) -> Explanation:
        states = states_of(self.filter, observation)
        if self.filter.kind is Belief.UNIFORM and states.repairable < max(states) - DOUBT:
            return Explanation("it is too unlikely that only this draft is wrong", states)
        cost = self.price * observation.tokens[-1]
        return Explanation(
            f"rewriting should gain {self.gain(states, observation):.3f} right answers, and"
            f" {observation.tokens[-1]} tokens cost {cost:.3f}",
            states,
        )


def states_of(filter: Filter, observation: Observation) -> States:
    """What a filter believes of the solution, by all its scores."""
    rewritten = [action is not Action.CONTINUE for action in observation.actions]
    right, lost, repairable = filter.belief(observation.scores, rewritten)
    return States(right, repairable, lost)


def read_pomdp(path: Path) -> Priced[Pomdp]:
    """The policies of a file that `trim fit` has written; its sweep spans the curve.

    Raises:
        InvalidInput: unreadable, not a fitted model, or of an unknown kind of score.
    """
    model = read_model(path)
    kind = model.of.get("kind")
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"{path}: fitted to scores {kind!r}; known: {', '.join(KINDS)}")
    beliefs = model.filter()
    models = {role: name for role, name in model.of.items() if role != "kind"}
    prices = model.prices()
    return Priced(
        min(prices),
        max(prices),
        prices,
        lambda price: Pomdp(make_plan(model.problem(price)), beliefs, kind, models=models),
    )
