"""What becomes of a step when a model or the scorer does not answer."""

from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_router import (
    Decisions,
    actions,
    doubts_bad,
    ended,
    followed,
    says,
    scripts,
    texts,
    total,
)

from trim.config import ESCALATE, FAIL, KEEP, POSSIBLE, Fallback, Fallbacks, RouterConfig
from trim.errors import InvalidInput, ModelUnavailable
from trim.events import Finished, Kept
from trim.policies.fixed import StrongAlone
from trim.policies.threshold import Threshold
from trim.router import Router
from trim.testing import ScriptedModel
from trim.types import Finish, Trace, Usage

GONE = ModelUnavailable("server: gone")
WEAK = ("one", "bad two", "three", r"so \boxed{4}")
STRONG = ("ONE", "TWO", "THREE", r"SO \boxed{5}")


class Unreliable:
    """A scorer that does not answer when it is asked for some of the times."""

    name = "unreliable"

    def __init__(self, *answers):
        self.scorer, self.answers = doubts_bad(), cycle(answers)

    async def score(self, trace, written):
        if not next(self.answers):
            raise GONE
        return await self.scorer.score(trace, written)


def solve(fallbacks, weak=WEAK, strong=STRONG, scorer=None, policy=Threshold(0.5), between=()):  # noqa: B008
    return Router(
        weak=says(*weak),
        strong=says(*strong),
        scorer=scorer or doubts_bad(),
        policy=policy,
        intermediate=between,
        config=RouterConfig(fallbacks=fallbacks),
    ).solve("a question")


def marks(trace):
    return [step.fallback for step in trace.steps]


def test_a_draft_is_kept_where_the_strong_model_is_silent():
    trace = solve(Fallbacks(strong=KEEP), strong=("ONE", GONE))
    assert texts(trace) == ended(*WEAK)
    assert marks(trace) == [None, "strong", None, None]
    assert (trace.steps[1].action, trace.steps[1].score, trace.fallbacks) == ("continue", 0.1, 1)
    assert (trace.finish, trace.interventions) == (Finish.ANSWER, 0)


def test_the_weak_model_drafts_where_the_strong_one_alone_is_silent():
    trace = solve(Fallbacks(strong=KEEP), strong=(GONE, "TWO", GONE, GONE), policy=StrongAlone())
    assert texts(trace) == ended("one", "TWO", "three", r"so \boxed{4}")
    assert marks(trace) == ["strong", None, "strong", "strong"]
    assert not any(step.denied for step in trace.steps)


def test_the_strong_model_writes_where_the_weak_one_is_silent():
    trace = solve(Fallbacks(weak=ESCALATE), weak=(*WEAK[:2], GONE, WEAK[3]))
    assert texts(trace) == ended("one", "TWO", "THREE", r"so \boxed{4}")
    assert marks(trace) == [None, None, "weak", None]
    assert (trace.steps[2].action, trace.steps[2].draft) == ("regenerate", None)
    assert trace.interventions == 1


def test_one_of_both_must_answer():
    trace = solve(Fallbacks(weak=ESCALATE, strong=KEEP), weak=("one", GONE), strong=("ONE", GONE))
    assert texts(trace) == followed("one")
    assert (trace.finish, trace.failure) == (Finish.FAILED, "server: gone")


def test_a_draft_without_a_score_is_kept_and_scored_later():
    scorer = Unreliable(True, False, True, True)
    trace = solve(Fallbacks(scorer=KEEP), scorer=scorer)
    assert texts(trace) == ended(*WEAK)
    assert marks(trace) == [None, "scorer", None, None]
    assert [step.score for step in trace.steps] == [0.9, None, 0.9, 0.9]
    assert [first for _, first in scorer.scorer.calls] == [0, 1, 3]


def test_a_draft_without_a_score_is_rewritten():
    trace = solve(Fallbacks(scorer=ESCALATE), scorer=Unreliable(False, True))
    assert texts(trace)[:2] == followed("ONE", "TWO")
    assert marks(trace)[:2] == ["scorer", None]
    assert (trace.steps[0].draft, trace.steps[0].action) == ("one", "regenerate")


def test_a_silent_intermediate_model_is_passed_over():
    silent = ScriptedModel(lambda prefix: GONE)
    for fallback, second in ((ESCALATE, "TWO\n\n"), (KEEP, "bad two\n\n")):
        trace = solve(Fallbacks(intermediate=fallback), between=(silent,))
        assert (texts(trace)[1], marks(trace)[1]) == (second, "intermediate")


@pytest.mark.parametrize("part", ["weak", "strong", "scorer", "intermediate"])
def test_by_default_the_problem_fails_with_the_reason(part):
    script = {"weak": (GONE,), "strong": ("ONE", GONE)}.get(part)
    options = {part: script} if script else {}
    if part == "scorer":
        options["scorer"] = Unreliable(False)
    if part == "intermediate":
        options["between"] = (ScriptedModel(lambda prefix: GONE),)
    trace = solve(Fallbacks(), **options)
    assert (trace.finish, trace.failure, trace.answer) == (Finish.FAILED, "server: gone", None)
    assert trace.unfinished
    assert Trace.from_json(trace.to_json()) == trace


@pytest.mark.parametrize("part, possible", POSSIBLE.items())
def test_only_what_makes_sense_is_a_fallback(part, possible):
    for fallback in Fallback:
        if fallback in possible:
            assert getattr(Fallbacks(**{part: fallback}), part) is fallback
        else:
            with pytest.raises(InvalidInput, match=f"fallback of {part}: {fallback} is none of"):
                Fallbacks(**{part: fallback})


def fails_at_times(script, answers):
    """A model that goes through `script`, silent where `answers` says so, and what it wrote."""
    written, source, answers = [], cycle(script), cycle(answers)

    def write(prefix):
        if not next(answers):
            return GONE
        written.append(next(source))
        return written[-1]

    return ScriptedModel(write), written


availability = st.lists(st.booleans(), min_size=1, max_size=6)


@given(
    scripts,
    scripts,
    actions,
    st.tuples(availability, availability, availability, availability),
    st.builds(
        Fallbacks, **{part: st.sampled_from(possible) for part, possible in POSSIBLE.items()}
    ),
    st.sampled_from([None, 0, 20]),
)
def test_every_problem_ends_once_and_its_tokens_add_up(
    weak_script, strong_script, decisions, answers, fallbacks, limit
):
    weak, drafted = fails_at_times(weak_script, answers[0])
    middle, between = fails_at_times(strong_script, answers[1])
    strong, rewritten = fails_at_times(strong_script, answers[2])
    scorer, policy = Unreliable(*answers[3]), Decisions(*decisions)
    policy.needs_scores = True
    router = Router(
        weak=weak,
        strong=strong,
        scorer=scorer,
        policy=policy,
        intermediate=(middle,),
        config=RouterConfig(max_steps=6, max_strong_tokens=limit, fallbacks=fallbacks),
    )
    *events, last = router.events("a question")
    assert isinstance(last, Finished)
    assert not any(isinstance(event, Finished) for event in events)
    trace = last.trace
    assert (trace.finish is Finish.FAILED) == (trace.failure is not None)
    assert trace.usage["weak"] == total(drafted)
    assert trace.usage["strong"] == total(rewritten)
    assert trace.usage.get("intermediate-1", Usage()) == total(between)
    kept = [event.step for event in events if isinstance(event, Kept)]
    assert kept[len(kept) - len(trace.steps) :] == list(trace.steps)
    if fallbacks == Fallbacks():
        assert not trace.fallbacks
    for step in (*trace.abandoned, *trace.steps):
        if step.fallback:
            assert getattr(fallbacks, step.fallback) is not FAIL
