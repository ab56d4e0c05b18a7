"""The checks for own models, scorers and policies: ours keep the promises, broken ones do not."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Completion, Ending
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies
from trim.scorers.confidence import FirstEntropyScorer, LogProbabilityScorer
from trim.scorers.joint import JointScorer, JointWeights
from trim.scorers.label import LabelScorer
from trim.scorers.noisy import NoisyScorer
from trim.scorers.scorer import Scores
from trim.shipped import FOLDER
from trim.testing import ScriptedModel, check_model, check_policy, check_scorer
from trim.types import Action

STEP = Completion("a step\n\n", Ending.STEP, 3, 9)


@pytest.mark.parametrize(
    "spec",
    ["thr:0.1,0.5", "takeover:0.5", "weak", "strong", "random:0.5", "cascade:0.3", "rsd",
     "specreason"],
)  # fmt: skip
def test_our_policies_keep_their_promises(spec):
    for policy in parse_policies(spec):
        check_policy(policy)


def test_our_models_keep_their_promises():
    check_model(ScriptedModel(lambda prefix: "one step\n\n"))
    check_model(LlamaCppModel(FOLDER / "weak.gguf", slots=1, entropy=True))


def test_our_scorers_keep_their_promises():
    label = LabelScorer(FOLDER / "scorer.gguf")
    assert label.name == "scorer"
    weights = JointWeights(0.1, 1.0, 2.0, {})
    for scorer in (
        LogProbabilityScorer(),
        FirstEntropyScorer(),
        label,
        NoisyScorer(label, 1.0),
        JointScorer(label, weights),
    ):
        check_scorer(scorer)


@dataclass
class Broken(Policy):
    name: str = "broken"
    decided: object = Action.CONTINUE
    begun: object = Action.CONTINUE
    reason: object = "it is broken"
    alternates: bool = False
    asked: int = 0

    def begin(self, question):
        return self.begun

    def decide(self, observation):
        self.asked += 1
        return Action(["continue", "regenerate"][self.asked % 2]) if self.alternates else (
            self.decided
        )  # fmt: skip

    def explain(self, observation):
        return SimpleNamespace(reason=self.reason)


def test_the_broken_policy_is_whole_but_for_what_is_broken():
    check_policy(Broken())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"name": ""}, "the name '' is invalid"),
        ({"decided": True}, "not an Action"),
        ({"decided": Action.RESTART}, "`restarts` is False"),
        ({"begun": Action.REGENERATE}, "begin returned"),
        ({"alternates": True}, "not deterministic"),
        ({"reason": None}, "not one line"),
    ],
)
def test_a_broken_policy_is_found(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_policy(Broken(**broken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "two\n\nsteps\n\n"}, "more than one step"),
        ({"text": None}, "not a string"),
        ({"ending": "step"}, "not an Ending"),
        ({"tokens": -1}, "tokens -1 is not a count"),
        ({"tokens": 0}, "a text of no tokens"),
        ({"cached_tokens": 10}, "10 cached tokens of 9"),
        ({"seconds": -1.0}, "seconds"),
        ({"log_probability": 0.5}, "log_probability"),
        ({"first_entropy": float("nan")}, "first_entropy"),
    ],
)
def test_a_broken_model_is_found(change, message):
    with pytest.raises(AssertionError, match=message):
        check_model(ScriptedModel(lambda prefix: replace(STEP, **change)))


def test_a_model_that_does_not_repeat_itself_is_found_where_it_should():
    numbers = iter(range(100))
    model = ScriptedModel(lambda prefix: f"step {next(numbers)}\n\n")
    with pytest.raises(AssertionError, match="not repeatable"):
        check_model(model)
    check_model(model, repeatable=False)


@pytest.mark.parametrize(
    ("scored", "message"),
    [
        (lambda count, call: Scores((0.5,) * 3, 5), "3 scores for 1 steps"),
        (lambda count, call: Scores((1.5,) * count, 5), r"not a number in \[0, 1\]"),
        (lambda count, call: Scores((True,) * count, 5), "True is not a number"),
        (lambda count, call: Scores((float("nan"),) * count, 5), "nan is not a number"),
        (lambda count, call: Scores((0.5,) * count, -5), "prompt_tokens -5"),
        (lambda count, call: Scores((0.5,) * count, 5, unread_steps=3), "unread_steps 3"),
        (lambda count, call: Scores((0.1 * call,) * count, 5), "the newest step scores"),
        (lambda count, call: Scores((0.1 * count,) * count, 5), "the newest step scores"),
    ],
)
def test_a_broken_scorer_is_found(scored, message):
    class BrokenScorer:
        name = "broken"
        calls = 0

        async def score(self, trace, written):
            self.calls += 1
            return scored(len(written), self.calls)

    with pytest.raises(AssertionError, match=message):
        check_scorer(BrokenScorer())
