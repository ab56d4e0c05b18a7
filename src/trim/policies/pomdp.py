"""TRIM-POMDP: rewrite where the plan says that it pays, at what the scores let one believe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trim.errors import InvalidInput
from trim.policies.fitted import FittedPolicy
from trim.policies.policy import Action, Observation
from trim.policies.priced import Priced
from trim.pomdp.belief import DOUBT, Belief, Filter
from trim.pomdp.model import read_model
from trim.pomdp.plan import make_plan
from trim.pomdp.problem import Plan
from trim.scorers.choice import KINDS


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
        rewritten = [action is not Action.CONTINUE for action in observation.actions]
        right, lost, mendable = self.filter.belief(observation.scores, rewritten)
        if self.filter.kind is Belief.UNIFORM and mendable < max(right, lost) - DOUBT:
            return Action.CONTINUE
        if observation.last:
            keep, rewrite = self.plan.problem.process.finishing
            gain = (
                right * (rewrite[0] - keep[0])
                + lost * (rewrite[1] - keep[1])
                + mendable * (rewrite[2] - keep[2])
            )
        else:
            gain = self.plan.gain(len(observation.scores), right, lost)
        pays = gain > self.plan.problem.price * observation.tokens[-1]
        return Action.REGENERATE if pays else Action.CONTINUE


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
