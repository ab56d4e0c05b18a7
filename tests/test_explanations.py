"""What policies say of their decisions is what they decide by."""

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy, describe_comparison
from trim.policies.pomdp.policy import read_pomdp
from trim.policies.registry import parse_policies
from trim.policies.rivals.automix import AutoMix, AutoMixPRM, VerifierTable
from trim.policies.rivals.cascade import Cascade, ScoreSummary
from trim.policies.rivals.classifier import Classifier, TermModel
from trim.server.page.events import read_belief
from trim.shipped import BELIEF
from trim.types import Action, Observation

shares = st.floats(0, 1)


def observed(*scores, last=False, answer="a"):
    steps = tuple(f"step {n}" for n in range(len(scores) - 1))
    final = rf"so \boxed{{{answer}}}" if last else "a draft"
    actions = (Action.CONTINUE,) * (len(scores) - 1)
    return Observation("q", (*steps, final), scores, (16,) * len(scores), actions, 0, last, last)


def numbers(text):
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)]


@given(st.floats(0, 1, allow_subnormal=False), st.floats(0.001, 0.999).map(lambda k: round(k, 3)))
def test_a_rounded_value_stays_on_its_side_of_the_limit(value, limit):
    text = describe_comparison("score", value, limit)
    shown, named = numbers(text)
    assert named == pytest.approx(limit)
    assert ("not" in text) == (value >= limit)
    assert (shown >= named) == (value >= limit)


@given(shares, st.floats(0.01, 0.99).map(lambda k: round(k, 2)))
def test_thresholds_explain_on_which_side_the_score_is(score, k):
    seen = observed(score)
    for spec in (f"thr:{k}", f"takeover:{k}", f"rsd:{k}"):
        (policy,) = parse_policies(spec)
        below = "is below" in policy.explain(seen).reason
        assert below == (policy.decide(seen) is not Action.CONTINUE)
        assert policy.explain(seen).belief is None
    (policy,) = parse_policies(f"random:{k}")
    below = "is below" in policy.explain(seen).reason
    assert below == (policy.decide(seen) is not Action.CONTINUE)


def test_other_policies_explain_their_decisions():
    assert parse_policies("thr:1")[0].explain(observed(1.0)).reason.endswith("is rewritten")
    (grade,) = parse_policies("specreason:7")
    assert grade.explain(observed(5 / 9)).reason == "grade 5.00 is below 7, of 9"
    assert "whole solution" in Cascade(0.5).explain(observed(0.1)).reason
    assert Cascade(0.5).explain(observed(0.9, 0.25, last=True)).reason == (
        "lowest score 0.25 is below 0.5"
    )
    table = VerifierTable(ScoreSummary.LOWEST, (0.5,), (0.5, 0.0), (100.0, 100.0))
    for policy in (AutoMix(table, 0.001), AutoMixPRM(table, 0.001)):
        assert "whole solution" in policy.explain(observed(0.1)).reason
        assert policy.explain(observed(0.25, last=True)).reason == (
            "verdict 0.25: a new solution should gain 0.50 right answers, and its 100 tokens"
            " cost 0.10"
        )
    unseen = Observation("q", (), (), (), (), 0)
    hard = Classifier(TermModel({}, 2.0), 0.5)
    assert hard.begin("q") is Action.TAKE_OVER
    assert hard.explain(unseen).reason == "probability of a hard question 0.88 is not below 0.5"
    assert StrongAlone().explain(unseen).reason == "the strong model solves alone"
    assert WeakAlone().explain(observed(0.1)).reason == "the weak model solves alone"


def test_a_policy_without_explanation_has_a_default():
    class Silent(Policy):
        name = "silent"

        def decide(self, observation):
            return Action.CONTINUE

    assert Silent().explain(observed(0.5)).reason == "silent does not say why"


PLANS = read_pomdp(BELIEF).policies((0.01, 0.002))


@given(st.lists(shares, min_size=1, max_size=8), st.booleans())
def test_a_plan_explains_its_belief_and_the_gain_of_rewriting(scores, last):
    seen = observed(*scores, last=last)
    for policy in PLANS:
        explained = policy.explain(seen)
        assert sum(explained.belief) == pytest.approx(1)
        gain, tokens, cost = numbers(explained.reason)
        assert (tokens, cost) == (16, pytest.approx(16 * policy.price, abs=5e-4))
        if abs(gain - cost) > 0.001:
            assert (gain > cost) == (policy.decide(seen) is Action.REGENERATE)


def test_the_shipped_belief_fits_the_shipped_models_and_scores():
    belief = read_belief(models_in())
    low, high = (belief.states(parse_policies("thr:0.5")[0], observed(r)) for r in (0.02, 0.99))
    assert high.right > 0.9 > 0.5 > low.right and low.repairable > 0.5
    late = belief.states(parse_policies("thr:0.5")[0], observed(0.02, 0.9))
    assert late.lost > 0.5
    assert belief.states(parse_policies("specreason:7")[0], observed(0.5)) is None
    assert (
        belief.states(parse_policies("thr:0.5")[0], Observation("q", ("a",), (), (1,), (), 0))
        is None
    )


def test_a_belief_of_other_models_is_refused(tmp_path):
    def lineup(file, models):
        return SimpleNamespace(belief=file, default_kind="joint", identify=lambda kind: models)

    present = models_in().identify("joint")
    assert read_belief(lineup(BELIEF, present)).kind == "joint"
    assert read_belief(lineup(None, present)) is None
    for models in ({**present, "weak": "another"}, {**present, "intermediate-1": "a third"}):
        with pytest.raises(InvalidInput, match="fitted to other models"):
            read_belief(lineup(BELIEF, models))
    with pytest.raises(InvalidInput, match=r"nothing\.json"):
        read_belief(lineup(tmp_path / "nothing.json", present))
