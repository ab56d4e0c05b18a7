"""More than two models: a step climbs from the weak one towards the strong one."""

import json

from hypothesis import given
from hypothesis import strategies as st
from test_router import (
    CONTINUE,
    REGENERATE,
    Decisions,
    ScriptedScorer,
    ended,
    recorded,
    says,
    scripts,
    texts,
    total,
)

from trim.config import RouterConfig
from trim.costs import Price, Prices
from trim.events import Decided, Drafted, Kept, Regenerated, Scored
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.types import Action, Author, Rejected, Step, Trace, Usage

WEAK = ("w1", "w2 bad", "w3 bad", r"w4 \boxed{1}")
MIDDLE = ("m1", "m2", "m3 bad", r"m4 \boxed{2}")
STRONG = ("s1", "s2", "s3", r"s4 \boxed{3}")


def doubts_bad():
    return ScriptedScorer(lambda step: 0.1 if "bad" in step else 0.9)


def router(policy, **options):
    middle = says(*MIDDLE)
    return Router(
        weak=says(*WEAK),
        strong=says(*STRONG),
        scorer=doubts_bad(),
        policy=policy,
        intermediate=(middle,),
        config=RouterConfig(**options),
    )


def test_a_step_escalates_one_level_at_a_time():
    *events, finished = router(Threshold(0.5)).events("a question")
    trace = finished.trace
    assert texts(trace) == ended("w1", "m2", "s3", r"w4 \boxed{1}")
    assert [step.author for step in trace.steps] == ["weak", "intermediate", "strong", "weak"]
    assert trace.steps[1] == Step(
        "m2\n\n",
        Author.INTERMEDIATE,
        REGENERATE,
        0.9,
        "w2 bad",
        draft_tokens=2,
        level=1,
        intermediate_tokens=1,
        draft_score=0.1,
    )
    assert trace.steps[2] == Step(
        "s3\n\n",
        Author.STRONG,
        REGENERATE,
        0.1,
        "w3 bad",
        draft_tokens=2,
        strong_tokens=1,
        intermediate_tokens=2,
        rejected=(Rejected("m3 bad", 2, 1, 0.1),),
        draft_score=0.1,
    )
    assert [step.first_score for step in trace.steps] == [0.9, 0.1, 0.1, 0.9]
    assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace
    assert ["draft_score" in step for step in trace.to_json()["steps"]] == [0, 1, 1, 0]
    assert events[8:] == [
        Scored(2, 0.9),
        Decided(2, CONTINUE),
        Kept(2, trace.steps[1]),
        Drafted(3, "w3 bad", 2),
        Scored(3, 0.1),
        Decided(3, REGENERATE),
        Regenerated(3, "m3 bad", 2, Author.INTERMEDIATE),
        Scored(3, 0.1),
        Decided(3, REGENERATE),
        Regenerated(3, "s3", 1),
        Kept(3, trace.steps[2]),
        Drafted(4, r"w4 \boxed{1}", 2),
        Scored(4, 0.9),
        Decided(4, CONTINUE),
        Kept(4, trace.steps[3]),
    ]
    assert trace.interventions == 2
    assert trace.usage["intermediate-1"].tokens == trace.intermediate_tokens == 3
    assert Trace.from_json(trace.to_json()) == trace


def test_taking_over_is_left_to_the_strong_model():
    trace = router(Takeover(0.5)).solve("a question")
    assert texts(trace) == ended("w1", "s2", "s3", r"s4 \boxed{3}")
    assert "intermediate-1" not in trace.usage


def test_without_strong_tokens_the_middle_goes_on():
    trace = router(Threshold(0.5), max_strong_tokens=0).solve("a question")
    assert texts(trace) == ended("w1", "m2", "m3 bad", r"w4 \boxed{1}")
    assert [step.denied for step in trace.steps] == [False, False, True, False]


def test_only_the_version_that_is_kept_ends_the_solution():
    weak, strong = says(r"bad \boxed{1}", r"w2 \boxed{1}"), says("s1", "s2")
    for first in ("m1", r"m1 bad \boxed{2}"):
        middle = says(first)
        trace = Router(
            weak=weak,
            strong=strong,
            scorer=doubts_bad(),
            policy=Threshold(0.5),
            intermediate=(middle,),
        ).solve("a")
        kept = "m1" if first == "m1" else "s1"
        assert texts(trace) == ended(kept, r"w2 \boxed{1}")
    trace = Router(
        weak=weak,
        strong=strong,
        scorer=doubts_bad(),
        policy=Threshold(0.5),
        intermediate=(says(r"m1 \boxed{2}"),),
    ).solve("a")
    assert (texts(trace), trace.answer) == ([r"m1 \boxed{2}"], "2")


def test_each_level_has_its_price():
    usage = {"weak": Usage(), "strong": Usage(), "scorer": Usage()}
    trace = Trace(
        "q", "p", 0, usage={**usage, "intermediate-1": Usage(tokens=7), "warming": Usage(9)}
    )
    prices = Prices(strong=Price(prompt=10), intermediate=(Price(output=100),))
    assert prices.of(trace) == (7 * 100 + 9 * 10) / 1e6
    assert Prices(strong=Price(output=10)).of(trace) == 7 * 10 / 1e6


decisions = st.lists(st.sampled_from(Action), min_size=1, max_size=12)


class InTurn(Decisions):
    """Takes the next action each time it is asked."""

    def decide(self, observation):
        self.seen.append(observation)
        return self.actions[(len(self.seen) - 1) % len(self.actions)]


@given(scripts, scripts, scripts, scripts, decisions, st.booleans())
def test_the_books_of_four_models_add_up(weak, lower, upper, strong, actions, scored):
    models, written = zip(*map(recorded, (weak, lower, upper, strong)), strict=True)
    policy = InTurn(*actions)
    policy.needs_scores = scored
    trace = Router(
        weak=models[0],
        strong=models[3],
        scorer=doubts_bad(),
        policy=policy,
        intermediate=models[1:3],
        config=RouterConfig(max_steps=8),
    ).solve("a question")
    roles = ("weak", "intermediate-1", "intermediate-2", "strong")
    for role, of_model in zip(roles, written, strict=True):
        assert trace.usage.get(role, Usage()) == total(of_model)
    steps = (*trace.abandoned, *trace.steps)
    assert trace.usage["weak"].tokens == sum(step.draft_tokens for step in steps)
    assert trace.intermediate_tokens == sum(step.intermediate_tokens for step in steps)
    assert trace.strong_tokens == sum(step.strong_tokens for step in steps)
    for step in steps:
        assert (step.level > 0) == (step.author is Author.INTERMEDIATE)
        assert [version.level for version in step.rejected] == sorted(
            {version.level for version in step.rejected}
        )
        if step.author is not Author.WEAK and step.action is REGENERATE:
            assert step.draft is not None
    for observation in policy.seen:
        assert len(observation.tokens) == len(observation.steps)
        assert len(observation.scores) == (len(observation.steps) if scored else 0)
    assert Trace.from_json(trace.to_json()) == trace
