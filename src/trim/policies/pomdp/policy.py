"""TRIM-POMDP: regenerate if a plan over beliefs gains more than the tokens cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trim.errors import InvalidInput
from trim.policies.policy import Belief, Explanation, FittedPolicy, PricedPolicies
from trim.policies.pomdp.belief import REPAIRABLE_MARGIN, BeliefFilter, BeliefKind
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.plan import Plan, make_plan
from trim.scorers.scorer import KINDS
from trim.types import Action, Observation


@dataclass(frozen=True)
class PomdpPolicy(FittedPolicy):
    """Regenerates if Q(regenerate) > Q(continue) (arXiv 2601.10245, TRIM-POMDP).

    The authors use a table of solver runs; here one plan covers all steps, beliefs and lengths,
    and the belief may come from a filter over the whole trace. `read_pomdp` reads the policy
    from a file of `trim fit`.

    Attributes:
        plan: for a reward of 1; its price is lambda, in right answers per strong token.
        filter: computes the belief.
        scorer: the kind of score that the model was fitted to; None if not recorded.
    """

    plan: Plan
    filter: BeliefFilter
    scorer: str | None = None

    @property
    def name(self) -> str:
        return self.labelled_name("pomdp", self.price)

    @property
    def price(self) -> float:
        """lambda, in right answers per strong token."""
        return self.plan.problem.price

    def decide(self, observation: Observation) -> Action:
        belief = belief_of(self.filter, observation)
        if self._is_unlikely_repairable(belief):
            return Action.CONTINUE
        pays = self.gain(belief, observation) > self.price * observation.tokens[-1]
        return Action.REGENERATE if pays else Action.CONTINUE

    def gain(self, belief: Belief, observation: Observation) -> float:
        """Expected gain of regenerating over continuing, in right answers, before its cost."""
        right, repairable, lost = belief
        if not observation.last:
            return self.plan.gain(len(observation.scores), right, lost)
        keep, rewrite = self.plan.problem.process.final_accuracy
        return float(
            right * (rewrite[0] - keep[0])
            + lost * (rewrite[1] - keep[1])
            + repairable * (rewrite[2] - keep[2])
        )

    def explain(self, observation: Observation) -> Explanation:
        belief = belief_of(self.filter, observation)
        if self._is_unlikely_repairable(belief):
            return Explanation("it is too unlikely that only this draft is wrong", belief)
        cost = self.price * observation.tokens[-1]
        return Explanation(
            f"rewriting should gain {self.gain(belief, observation):.3f} right answers, and"
            f" {observation.tokens[-1]} tokens cost {cost:.3f}",
            belief,
        )

    def _is_unlikely_repairable(self, belief: Belief) -> bool:
        """The paper's condition on top of the plan, for its own kind of belief only."""
        if self.filter.kind is not BeliefKind.UNIFORM:
            return False
        return belief.repairable < max(belief.right, belief.lost) - REPAIRABLE_MARGIN


def belief_of(filter: BeliefFilter, observation: Observation) -> Belief:
    """The belief after all scores of an observation."""
    rewritten = [action is not Action.CONTINUE for action in observation.actions]
    right, lost, repairable = filter.belief(observation.scores, rewritten)
    return Belief(right, repairable, lost)


def read_pomdp(path: Path) -> PricedPolicies[PomdpPolicy]:
    """The policies of a file of `trim fit`; the default sweep spans the curve.

    Raises:
        InvalidInput: the file is unreadable, malformed, or of an unknown kind of score.
    """
    model = read_model(path)
    kind = model.fitted_to.get("kind")
    if kind is not None and kind not in KINDS:
        raise InvalidInput(f"{path}: fitted to scores {kind!r}; known: {', '.join(KINDS)}")
    beliefs = model.filter()
    models = {role: name for role, name in model.fitted_to.items() if role != "kind"}
    prices = model.prices()
    return PricedPolicies(
        min(prices),
        max(prices),
        prices,
        lambda price: PomdpPolicy(make_plan(model.problem(price)), beliefs, kind, models=models),
    )
