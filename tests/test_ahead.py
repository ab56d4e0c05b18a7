"""Drafting ahead and filling caches: the same texts and decisions, and honest books."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_router import (
    Decisions,
    ScriptedScorer,
    actions,
    completions,
    doubts_bad,
    ended,
    followed,
    says,
    texts,
)

from trim.config import End, PrefillMode, RouterConfig, Rules
from trim.errors import InvalidInput, ModelUnavailable
from trim.models.model import Completion, Ending
from trim.numerics import derive_seed
from trim.policies.fixed import WeakAlone
from trim.policies.oracle import OracleQuery
from trim.policies.threshold import Threshold
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.steps import bare
from trim.testing import ScriptedModel
from trim.types import Usage

WEAK = ("one", "bad two", "three", r"so \boxed{4}")
STRONG = ("ONE", "TWO", "THREE", r"SO \boxed{5}")


class Reader(ScriptedModel):
    """A scripted model that can read in advance."""

    def __init__(self, script):
        super().__init__(script)
        self.read = []

    async def prefill(self, prefix):
        self.read.append(list(prefix.steps))
        return Completion("", Ending.LENGTH, 1, 10 * len(prefix.steps))


def reads(*steps):
    return Reader(lambda prefix: steps[len(prefix.steps)])


@given(
    st.lists(completions, min_size=1, max_size=8),
    st.lists(completions, min_size=1, max_size=8),
    actions,
    st.sampled_from(PrefillMode),
    st.sampled_from([None, 0, 30]),
    st.builds(
        Rules,
        ends=st.sampled_from(End),
        open_box=st.booleans(),
        asks_on=st.booleans(),
        rejoins=st.booleans(),
    ),
)
def test_texts_and_decisions_stay_what_they_were(weak, strong, decisions, warming, limit, rules):
    def writer(script):
        # A step is a function of its prefix, as with a real model and its seed.
        return Reader(lambda prefix: script[derive_seed(*prefix.steps) % len(script)])

    def routed(**options):
        policy = Decisions(*decisions)
        policy.needs_scores = True
        router = Router(
            weak=writer(weak),
            strong=writer(strong),
            scorer=doubts_bad(),
            policy=policy,
            config=RouterConfig(max_steps=6, max_strong_tokens=limit, rules=rules, **options),
        )
        return router, router.solve("a question")

    (_, plain), (router, ahead) = routed(), routed(overlap=True, prefill=warming)
    assert (ahead.steps, ahead.abandoned, ahead.finish) == (
        plain.steps,
        plain.abandoned,
        plain.finish,
    )
    for role in ("strong", "scorer"):
        assert ahead.usage[role] == plain.usage[role]
    drafted = plain.usage["weak"].tokens
    assert ahead.usage["weak"].tokens == drafted + ahead.dropped_tokens
    assert ahead.discarded_tokens == plain.discarded_tokens + ahead.dropped_tokens
    read = router.strong.read
    expected = Usage(10 * sum(map(len, read)), 0, len(read), len(read))
    assert ahead.usage.get("warming", Usage()) == expected
    assert (warming is PrefillMode.NEVER) <= (not read)


def test_a_draft_that_was_begun_in_vain_is_dropped_and_counted():
    weak = says(*WEAK)
    router = Router(
        weak=weak,
        strong=says(*STRONG),
        scorer=doubts_bad(),
        policy=Threshold(0.5),
        config=RouterConfig(overlap=True),
    )
    trace = router.solve("a question")
    assert texts(trace) == ended("one", "TWO", "three", r"so \boxed{4}")
    assert [list(prefix.steps) for prefix in weak.calls] == [
        [],
        followed("one"),
        followed("one", "bad two"),
        followed("one", "TWO"),
        followed("one", "TWO", "three"),
    ]
    assert trace.dropped_tokens == 1
    assert trace.discarded_tokens == 3


def test_a_draft_is_begun_while_the_scorer_reads():
    async def solve():
        begun = []

        class SlowScorer:
            name = "slow"

            async def score(self, trace, written):
                for _ in range(5):
                    await asyncio.sleep(0)
                begun.append(len(weak.calls))
                return Scores((0.9,) * len(written), prompt_tokens=1)

        weak = says("one", "two", r"\boxed{3}")
        router = Router(
            weak=weak,
            strong=says(),
            scorer=SlowScorer(),
            policy=Threshold(0.5),
            config=RouterConfig(overlap=True),
        )
        return begun, await router.asolve("a question")

    begun, trace = asyncio.run(solve())
    assert begun == [2, 3, 3]  # Nothing is drafted after a step that holds the answer.
    assert trace.dropped_tokens == 0


@pytest.mark.parametrize("overlap, seconds", [(False, 3 * 2 + 3 * 1.5), (True, 2 + 2 + 2 + 1.5)])
def test_seconds_are_those_of_the_longest_way(overlap, seconds):
    texts_of_weak = ("one", "two", r"\boxed{3}")
    weak = ScriptedModel(
        lambda prefix: Completion(texts_of_weak[len(prefix.steps)], Ending.STEP, 1, 1, seconds=2.0)
    )

    class TimedScorer(ScriptedScorer):
        async def score(self, trace, written):
            return replace(await super().score(trace, written), seconds=1.5)

    scorer = TimedScorer(lambda step: 0.9)
    trace = Router(
        weak=weak,
        strong=says(),
        scorer=scorer,
        policy=Threshold(0.5),
        config=RouterConfig(overlap=overlap),
    ).solve("a question")
    assert trace.seconds == seconds


def test_the_strong_model_reads_what_has_been_kept():
    def read(warming):
        strong = reads(*STRONG)
        router = Router(
            weak=says(*WEAK),
            strong=strong,
            scorer=doubts_bad(),
            policy=Threshold(0.5),
            config=RouterConfig(prefill=warming),
        )
        trace = router.solve("a question")
        return strong.read, trace.usage.get("warming")

    assert read(PrefillMode.NEVER) == ([], None)
    assert read(PrefillMode.ALWAYS) == (
        [followed("one"), followed("one", "TWO", "three")],
        Usage(40, 0, 2, 2),
    )
    assert read(PrefillMode.LIKELY) == ([], None)  # All that is kept is beyond doubt.


@pytest.mark.parametrize("policy", [WeakAlone(), OracleQuery({"another question"})])
def test_nothing_is_read_for_a_policy_that_keeps_every_draft(policy):
    """It would be billed, and the weak model alone would not be the baseline that it is."""
    strong = reads(*STRONG)
    config = RouterConfig(prefill=PrefillMode.ALWAYS)
    trace = Router(weak=says(*WEAK), strong=strong, policy=policy, config=config).solve(
        "a question"
    )
    assert (strong.read, "warming" in trace.usage) == ([], False)


def test_a_doubt_is_a_score_near_the_threshold():
    strong = reads(*STRONG)
    scorer = ScriptedScorer(lambda step: {"one": 0.8, "bad two": 0.7, "three": 0.9}[bare(step)])
    Router(
        weak=says(*WEAK[:3], "x"),
        strong=strong,
        scorer=scorer,
        policy=Threshold(0.6),
        config=RouterConfig(prefill=PrefillMode.LIKELY, max_steps=3),
    ).solve("a question")
    assert strong.read == [followed("one", "bad two")]


def test_a_model_that_cannot_read_in_advance_is_refused():
    with pytest.raises(InvalidInput, match="cannot read in advance; set it to never"):
        Router(
            weak=says(),
            strong=says(),
            policy=WeakAlone(),
            config=RouterConfig(prefill=PrefillMode.ALWAYS),
        )


def test_what_fails_in_the_background_harms_nobody():
    class Broken(Reader):
        async def prefill(self, prefix):
            raise ModelUnavailable("gone")

    strong = Broken(lambda prefix: STRONG[len(prefix.steps)])
    gone = says("one", "bad two", ModelUnavailable("gone"), r"so \boxed{4}")
    weak = ScriptedModel(
        lambda prefix: gone.script(prefix) if "TWO" not in prefix.text else "three"
    )
    trace = Router(
        weak=weak,
        strong=strong,
        scorer=doubts_bad(),
        policy=Threshold(0.5),
        config=RouterConfig(overlap=True, prefill=PrefillMode.ALWAYS, max_steps=3),
    ).solve("a question")
    assert texts(trace) == ended("one", "TWO", "three")
    assert "warming" not in trace.usage


async def test_who_gives_up_a_solution_stops_its_work():
    cancelled = []

    class Endless:
        name = "endless"

        async def write_step(self, prefix, sampling, seed):
            if prefix.steps:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    cancelled.append(list(prefix.steps))
                    raise
            return Completion("one", Ending.STEP, 1, 1)

    class SlowScorer:
        name = "slow"

        async def score(self, trace, written):
            await asyncio.sleep(0.01)
            return Scores((0.9,), prompt_tokens=1)

    router = Router(
        weak=Endless(),
        strong=says(),
        scorer=SlowScorer(),
        policy=Threshold(0.5),
        config=RouterConfig(overlap=True),
    )
    events = router.aevents("a question")
    for _ in range(2):
        await anext(events)
    await events.aclose()
    assert cancelled == [followed("one")]
    assert len(asyncio.all_tasks()) == 1
