"""The step loop, with models, scorers and decisions that are told what to do."""

import asyncio
from dataclasses import replace
from itertools import cycle
from math import exp

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trim.config import End, PrefillMode, RouterConfig, Rules
from trim.configuration.source import Models
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.events import Decided, Drafted, Finished, Kept, Regenerated, Scored
from trim.models.model import Completion, Ending, Prefix, Role, Sampling, Turn
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.oracle import Oracle
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies, parse_policy
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.steps import bare, boxed_answer, closed, split_steps
from trim.testing import ScriptedModel
from trim.types import Action, Author, Finish, Step, Usage

CONTINUE, REGENERATE, TAKE_OVER, RESTART = Action


class Decisions(Policy):
    """Takes the given decisions, step by step, and remembers what it saw."""

    needs_scores = False
    name = "decisions"

    def __init__(self, *actions):
        self.actions = actions
        self.seen = []

    def decide(self, observation):
        self.seen.append(observation)
        return self.actions[(len(observation.steps) - 1) % len(self.actions)]


class ScriptedScorer:
    """Grades each step by `judge`."""

    name = "scripted"

    def __init__(self, judge):
        self.judge = judge
        self.calls = []

    async def score(self, trace, written):
        first = len(trace.steps) - len(written)
        self.calls.append((trace, first))
        await asyncio.sleep(0)
        values = tuple(self.judge(step) for step in trace.steps[first:])
        return Scores(values, prompt_tokens=10, cached_tokens=4, tokens=1, seconds=0.5)


def says(*steps):
    """A model that has a text, a completion or an error ready for each step."""
    return ScriptedModel(lambda prefix: steps[len(prefix.steps)])


def doubts_bad():
    return ScriptedScorer(lambda step: 0.1 if "bad" in step else 0.9)


def solve(weak, strong, policy, scorer=None, **options):
    return Router(
        weak=weak, strong=strong, scorer=scorer, policy=policy, config=RouterConfig(**options)
    ).solve("a question")


WEAK = ("one", "bad two", "three", r"so \boxed{4}")
STRONG = ("ONE", "TWO", "THREE", r"SO \boxed{5}")


def texts(trace):
    return [step.text for step in trace.steps]


def followed(*steps):
    """Steps as they are kept where another one follows: each with the blank line that ends it."""
    return [closed(step) for step in steps]


def ended(*steps):
    """The steps of a solution that has ended; the last one is as it was written."""
    *earlier, last = steps
    return [*followed(*earlier), last]


def prefix_of(*steps):
    return Prefix("a question", tuple(followed(*steps)))


def test_only_doubted_steps_are_rewritten():
    weak, strong = says(*WEAK), says(*STRONG)
    trace = solve(weak, strong, Threshold(0.5), doubts_bad())
    assert texts(trace) == ["one\n\n", "TWO\n\n", "three\n\n", r"so \boxed{4}"]
    assert trace.solution == "one\n\nTWO\n\nthree\n\nso \\boxed{4}"
    assert (trace.answer, trace.finish) == ("4", Finish.ANSWER)
    assert (trace.question, trace.policy, trace.seed) == ("a question", "thr:0.5", 0)
    assert trace.steps[1] == Step(
        "TWO\n\n", Author.STRONG, REGENERATE, 0.1, "bad two", draft_tokens=2, strong_tokens=1
    )
    assert trace.steps[2] == Step("three\n\n", Author.WEAK, CONTINUE, 0.9, None, draft_tokens=1)
    assert strong.calls == [prefix_of("one")]
    assert weak.calls[2] == prefix_of("one", "TWO")


def test_a_takeover_leaves_the_rest_to_the_strong_model():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    trace = solve(weak, strong, Takeover(0.5), scorer)
    assert texts(trace) == ended("one", "TWO", "THREE", r"SO \boxed{5}")
    assert [step.action for step in trace.steps] == [CONTINUE, TAKE_OVER, TAKE_OVER, TAKE_OVER]
    assert [step.score for step in trace.steps] == [0.9, 0.1, None, None]
    assert [step.draft for step in trace.steps] == [None, "bad two", None, None]
    assert len(weak.calls) == len(scorer.calls) == 2
    assert trace.interventions == 1


def test_the_strong_model_alone_never_drafts():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    trace = solve(weak, strong, StrongAlone(), scorer)
    assert texts(trace) == ended(*STRONG)
    assert weak.calls == scorer.calls == []
    assert trace.usage["weak"] == trace.usage["scorer"] == Usage()
    assert trace.interventions == trace.discarded_tokens == trace.weak_tokens == 0
    assert trace.strong_tokens == 5


def test_the_weak_model_alone_never_asks():
    strong, scorer = says(*STRONG), doubts_bad()
    trace = solve(says(*WEAK), strong, WeakAlone(), scorer)
    assert texts(trace) == ended(*WEAK)
    assert strong.calls == scorer.calls == []
    assert [step.score for step in trace.steps] == [None] * 4


def test_events_come_in_order():
    router = Router(
        weak=says(*WEAK), strong=says(*STRONG), scorer=doubts_bad(), policy=Takeover(0.5)
    )
    *events, finished = router.events("a question")
    steps = finished.trace.steps
    assert events == [
        Drafted(1, "one", 1),
        Scored(1, 0.9),
        Decided(1, CONTINUE),
        Kept(1, steps[0]),
        Drafted(2, "bad two", 2),
        Scored(2, 0.1),
        Decided(2, TAKE_OVER),
        Regenerated(2, "TWO", 1),
        Kept(2, steps[1]),
        Regenerated(3, "THREE", 1),
        Kept(3, steps[2]),
        Regenerated(4, r"SO \boxed{5}", 2),
        Kept(4, steps[3]),
    ]


def test_without_scores_no_event_says_so():
    router = Router(weak=says(*WEAK), strong=says(*STRONG), policy=Decisions(CONTINUE))
    assert not any(isinstance(event, Scored) for event in router.events("a question"))


def test_all_four_ways_agree():
    router = Router(
        weak=says(*WEAK), strong=says(*STRONG), scorer=doubts_bad(), policy=Threshold(0.5)
    )

    async def collect():
        return [event async for event in router.aevents("a question", 3)]

    events = list(router.events("a question", 3))
    assert events == asyncio.run(collect())
    trace = router.solve("a question", 3)
    assert trace == asyncio.run(router.asolve("a question", 3))
    assert events[-1] == Finished(trace)
    assert [event.step for event in events if isinstance(event, Kept)] == list(trace.steps)


def test_events_may_be_left_early():
    router = Router(
        weak=says(*WEAK), strong=says(*STRONG), scorer=doubts_bad(), policy=Threshold(0.5)
    )
    events = router.events("a question")
    assert next(events) == Drafted(1, "one", 1)
    events.close()
    assert router.solve("a question").answer == "4"


def test_solutions_side_by_side_do_not_touch():
    router = Router(
        weak=says(*WEAK), strong=says(*STRONG), scorer=doubts_bad(), policy=Threshold(0.5)
    )

    async def together():
        return await asyncio.gather(*(router.asolve(question) for question in "abc"))

    assert asyncio.run(together()) == [router.solve(question) for question in "abc"]


def test_a_restart_throws_everything_away():
    weak, strong = says(*WEAK), says(*STRONG)
    trace = solve(weak, strong, Decisions(CONTINUE, CONTINUE, RESTART), doubts_bad())
    assert texts(trace) == ended(*STRONG)
    assert {step.action for step in trace.steps} == {RESTART}
    assert {(step.author, step.draft) for step in trace.steps} == {(Author.STRONG, None)}
    assert [step.text for step in trace.abandoned] == followed("one", "bad two", "three")
    assert [step.action for step in trace.abandoned] == [CONTINUE, CONTINUE, RESTART]
    assert (trace.weak_tokens, trace.discarded_tokens, trace.strong_tokens) == (0, 4, 5)
    assert (trace.answer, trace.finish, trace.interventions) == ("5", Finish.ANSWER, 1)
    assert strong.calls[0] == prefix_of()
    assert len(weak.calls) == 3


def test_a_restart_forgets_the_strong_steps_and_the_limit_too():
    policy = Decisions(REGENERATE, CONTINUE, RESTART)
    endless = says("one", "two", "three", "four")
    trace = solve(endless, endless, policy, max_steps=3)
    assert [step.author for step in trace.abandoned] == [Author.STRONG, Author.WEAK, Author.WEAK]
    assert (len(trace.steps), trace.finish) == (3, Finish.STEPS)
    assert (trace.strong_tokens, trace.discarded_tokens, trace.interventions) == (4, 3, 2)


def test_a_finished_draft_may_be_restarted():
    weak = says("one", r"bad \boxed{1}")
    policy = Decisions(CONTINUE, RESTART)
    policy.needs_scores = True
    *events, finished = Router(
        weak=weak, strong=says(*STRONG), scorer=doubts_bad(), policy=policy
    ).events("a question")
    steps = finished.trace.steps
    assert events[:7] == [
        Drafted(1, "one", 1),
        Scored(1, 0.9),
        Decided(1, CONTINUE),
        Kept(1, finished.trace.abandoned[0]),
        Drafted(2, r"bad \boxed{1}", 2),
        Scored(2, 0.1),
        Decided(2, RESTART),
    ]
    assert events[7:9] == [Regenerated(1, "ONE", 1), Kept(1, steps[0])]
    assert [step.score for step in finished.trace.abandoned] == [0.9, 0.1]
    assert [step.score for step in steps] == [None] * 4
    assert finished.trace.answer == "5"


def test_a_policy_knows_which_draft_is_the_last():
    def last(*steps, **options):
        policy = Decisions(CONTINUE)
        solve(says(*steps), says(), policy, **options)
        return [(seen.last, seen.answered) for seen in policy.seen]

    on, end, answer = (False, False), (True, False), (True, True)
    assert last("one", r"\boxed{2}") == [on, answer]
    assert last("one", r"\boxed{2", "3}") == [on, on, answer]
    assert last("one", Completion("two", Ending.SOLUTION, 1, 0)) == [on, answer]
    assert last("one", Completion("tw", Ending.LENGTH, 1, 0)) == [on, end]
    assert last("one", "two", "three", max_steps=3) == [on, on, end]


def test_what_ends_a_solution_is_a_matter_of_its_rules():
    def last(*steps, rules):
        policy = Decisions(CONTINUE)
        solve(says(*steps), says(), policy, max_steps=len(steps) + 1, rules=rules)
        return [seen.last for seen in policy.seen]

    stopped = Completion("two", Ending.SOLUTION, 1, 0)
    assert last(r"\boxed{1}", stopped, rules=Rules(ends=End.MODEL)) == [False, True]
    assert last(stopped, r"\boxed{1}", rules=Rules(asks_on=True)) == [False, True]
    assert last("one", r"\boxed{1", rules=Rules(open_box=True)) == [False, True]


def test_the_strong_model_may_run_out_of_context_after_a_restart():
    full = says("ONE", ContextExceeded("too long"))
    trace = solve(says("one"), full, Decisions(RESTART))
    assert (texts(trace), trace.finish) == (followed("ONE"), Finish.CONTEXT)
    with pytest.raises(ContextExceeded):
        solve(says("one"), says(ContextExceeded("too long")), Decisions(RESTART))


def test_a_finished_draft_may_be_rewritten():
    trace = solve(says(r"bad \boxed{1}"), says(r"\boxed{2}"), Threshold(0.5), doubts_bad())
    assert texts(trace) == [r"\boxed{2}"]
    assert (trace.answer, trace.finish) == ("2", Finish.ANSWER)


@pytest.mark.parametrize(
    "draft",
    [r"bad \boxed{1}", Completion("bad end", Ending.SOLUTION, 2, 0)],
    ids=["answer", "stop"],
)
def test_a_finished_draft_that_is_rewritten_finishes_nothing(draft):
    """Whoever wrote the step that is kept says whether the solution is finished."""
    weak = says(draft, r"two \boxed{3}")
    trace = solve(weak, says("ONE"), Threshold(0.5), doubts_bad())
    assert texts(trace) == ended("ONE", r"two \boxed{3}")
    assert (trace.answer, trace.finish) == ("3", Finish.ANSWER)


def test_a_rewrite_with_the_answer_ends_a_solution_whose_draft_went_on():
    trace = solve(says("bad one", "two"), says(r"\boxed{3}"), Threshold(0.5), doubts_bad())
    assert (texts(trace), trace.finish) == ([r"\boxed{3}"], Finish.ANSWER)


# The weak model boxes early, where the strong one needs more steps.
HASTY = (r"bad \boxed{1}", r"bad \boxed{2}", Completion("bad end", Ending.SOLUTION, 2, 0), "bad")


@pytest.mark.parametrize(
    "last", [r"SO \boxed{5}", Completion("STOP", Ending.SOLUTION, 1, 0)], ids=["answer", "stop"]
)
@pytest.mark.parametrize(
    "policy",
    [Threshold(1), Takeover(1), Decisions(REGENERATE), *parse_policies("random:1")],
    ids=lambda policy: policy.name,
)
def test_rewriting_every_step_gives_what_the_strong_model_alone_gives(policy, last):
    strong = (*STRONG[:3], last)
    alone = solve(says(*HASTY), says(*strong), StrongAlone(), doubts_bad())
    trace = solve(says(*HASTY), says(*strong), policy, doubts_bad())
    assert texts(trace) == texts(alone) == ended(*STRONG[:3], getattr(last, "text", last))
    assert (trace.answer, trace.finish) == (alone.answer, alone.finish)
    assert trace.strong_tokens == alone.strong_tokens


def test_the_oracle_of_steps_goes_on_after_a_rewritten_last_draft():
    def is_right(question, earlier, step):
        return "bad" not in step

    weak = says("one", r"bad \boxed{1}", "three", r"so \boxed{4}")
    trace = solve(weak, says(*STRONG), Oracle(is_right))
    assert texts(trace) == ended("one", "TWO", "three", r"so \boxed{4}")
    assert (trace.answer, trace.interventions) == ("4", 1)


def test_a_rewritten_step_is_scored_with_the_next_draft():
    scorer = ScriptedScorer({"one": 0.1, "ONE": 0.7, "two": 0.2, "TWO": 0.6, "three": 0.8}.get)
    policy = Decisions(REGENERATE, REGENERATE, CONTINUE, CONTINUE)
    policy.needs_scores = True
    scorer.judge = lambda step, known=scorer.judge: known(bare(step)) or 0.3
    solve(says("one", "two", "three", r"\boxed{4}"), says(*STRONG), policy, scorer)
    assert scorer.calls == [
        (prefix_of().then("one"), 0),
        (prefix_of("ONE").then("two"), 0),
        (prefix_of("ONE", "TWO").then("three"), 1),
        (prefix_of("ONE", "TWO", "three").then(r"\boxed{4}"), 3),
    ]
    assert [seen.scores for seen in policy.seen] == [
        (0.1,),
        (0.7, 0.2),
        (0.7, 0.6, 0.8),
        (0.7, 0.6, 0.8, 0.3),
    ]


def test_a_policy_sees_the_solution_so_far():
    policy = Decisions(CONTINUE, REGENERATE)
    router = Router(weak=says(*WEAK), strong=says("-", "T W O", "-", r"\boxed{5}"), policy=policy)
    router.solve("  a question ", seed=7)
    seen = policy.seen[2]
    assert (seen.question, seen.seed) == ("  a question ", 7)
    assert seen.steps == ("one\n\n", "T W O\n\n", "three")
    assert seen.tokens == (1, 3, 1)
    assert seen.actions == (CONTINUE, REGENERATE)
    assert seen.scores == ()


def after(*pairs):
    """A model that writes a text after each text that it may find."""
    said = {"".join(followed(*before)): text for before, text in pairs}
    return ScriptedModel(lambda prefix: said["".join(prefix.steps)])


@pytest.mark.parametrize("limit", [{"stops": ("END",)}, {"max_tokens": 4}])
def test_a_query_policy_decides_where_a_stop_string_or_a_limit_ends_the_solution(limit):
    weak = after(((), "one"), (["one"], "two more END"), (["one", "two more END"], r"\boxed{1}"))
    scorer = ScriptedScorer(lambda step: 0.1)
    policy = parse_policy("cascade:0.5")
    trace = solve(weak, says(r"\boxed{2}"), policy, scorer, **limit)
    assert trace.abandoned and trace.answer == "2"


def test_a_limit_on_the_solution_leaves_that_on_a_step():
    weak = after(((), "```\n1 2 3\n"), (["```\n1 2 3\n"], "4 5 6 7 8 9"))
    options = {"rules": Rules(keeps_fences=True), "sampling": Sampling(max_tokens=6)}
    (alone,), (both,) = (
        solve(weak, says(), WeakAlone(), max_steps=1, **options, **limit).steps
        for limit in ({}, {"max_tokens": 60})
    )
    assert alone.tokens == both.tokens


def test_the_strong_model_reads_nothing_ahead_once_it_may_not_write():
    class Reading(ScriptedModel):
        reads = 0

        async def prefill(self, prefix):
            self.reads += 1
            return Completion("", Ending.LENGTH, 1, 1000)

    strong = Reading(lambda prefix: "x")
    options = {"prefill": PrefillMode.ALWAYS, "max_strong_tokens": 0}
    solve(says(*WEAK), strong, Threshold(0.5), ScriptedScorer(lambda step: 0.1), **options)
    assert strong.reads == 0


def test_a_policy_gets_the_kind_of_score_that_it_is_made_for():
    grade, other = ScriptedScorer(lambda step: 0.9), ScriptedScorer(lambda step: 0.9)
    models = Models(says(*WEAK), says(*STRONG), {"prm": other, "grade": grade}, default_kind="prm")
    Router.of(models, policy="specreason:7").solve("a question")
    assert grade.calls and not other.calls
    with pytest.raises(InvalidInput, match="needs a scorer of the kind 'grade': pass scorer="):
        Router(weak=says(*WEAK), strong=says(*STRONG), policy="specreason:7")


def test_assignments_without_a_configuration_are_refused():
    with pytest.raises(InvalidInput, match="need the configuration file that they change"):
        Router.from_config(assignments=["routing.policy=thr:0.9"])


def test_a_degenerate_beginning_counts_in_the_confidence_of_its_step():
    written = {(): Completion("---\n\n", Ending.STEP, 1, 1, log_probability=-3, first_entropy=2),
               ("---\n\n",): Completion("one", Ending.SOLUTION, 1, 1, log_probability=-1,
                                        first_entropy=0.1)}  # fmt: skip
    seen = []

    class Watching(ScriptedScorer):
        async def score(self, trace, written):
            seen.extend((step.log_probability, step.first_entropy) for step in written)
            return await super().score(trace, written)

    weak = ScriptedModel(lambda prefix: written[prefix.steps])
    solve(weak, says(), Threshold(0.5), Watching(lambda step: 0.9))
    assert seen == [(-2, 2)]


BOX = {False: r"\boxed{2}", True: "\\boxed{2}\n\n"}
"""A last step as it is kept, where steps are rejoined and where they are not."""


@pytest.mark.parametrize("rejoins", [False, True])
def test_a_degenerate_step_is_asked_on_and_counted(rejoins):
    ruled = [] if rejoins else ["---"]
    weak = after(
        ((), "---"), (["---"], "one"), ([*ruled, "one"], r"\boxed{2}"),
    )  # fmt: skip
    trace = solve(weak, says(), WeakAlone(), rules=Rules(rejoins=rejoins))
    assert texts(trace) == ["one\n\n" if rejoins else "---\n\none\n\n", BOX[rejoins]]
    assert trace.solution == ("" if rejoins else "---\n\n") + "one\n\n" + BOX[rejoins]
    assert [step.draft_tokens for step in trace.steps] == [2, 1]
    # Prefixes of 2, 3 and 3 or 4 words were read.
    assert trace.usage["weak"] == Usage(8 if rejoins else 9, 0, 3, requests=3)
    # Joined, both are one step of the prefix.
    assert [len(prefix.steps) for prefix in weak.calls] == [0, 1, 1]


@pytest.mark.parametrize("rejoins", [False, True])
def test_a_degenerate_rewrite_is_asked_on_and_counted(rejoins):
    strong = after(((), "---"), (["---"], r"\boxed{2}"))
    rules = Rules(rejoins=rejoins)
    trace = solve(says("one"), strong, Decisions(REGENERATE), rules=rules)
    assert texts(trace) == [("" if rejoins else "---\n\n") + BOX[rejoins]]
    assert trace.steps[0].strong_tokens == trace.strong_tokens == 2


@pytest.mark.parametrize("rejoins", [False, True])
def test_a_model_is_asked_on_once(rejoins):
    weak = after(
        ((), "---"), (["---"], "***"),
        (["***"], r"\boxed{2}"), (["---", "***"], r"\boxed{2}"),
    )  # fmt: skip
    trace = solve(weak, says(), WeakAlone(), rules=Rules(rejoins=rejoins))
    assert texts(trace) == ["***\n\n" if rejoins else "---\n\n***\n\n", BOX[rejoins]]
    assert len(weak.calls) == 3


@pytest.mark.parametrize("step", ["$$", "→", "+", "…", "1", "$$\n\n", "- →"])
def test_a_sign_that_means_something_is_a_step(step):
    weak = says(step, r"\boxed{2}")
    trace = solve(weak, says(), WeakAlone())
    assert (texts(trace), len(weak.calls)) == (ended(step, r"\boxed{2}"), 2)


def test_a_cut_after_a_degenerate_step_is_a_cut():
    weak = after(((), "---"), (["---"], Completion("on", Ending.LENGTH, 5, 0)))
    trace = solve(weak, says(), WeakAlone())
    assert texts(trace) == ["---\n\non"]
    assert (trace.steps[0].truncated, trace.finish) == (True, Finish.LENGTH)


def test_no_room_for_another_step_leaves_a_degenerate_one():
    weak = says(Completion("---", Ending.STEP, 5, 0))
    trace = solve(weak, says(), WeakAlone(), max_tokens=5)
    assert (texts(trace), trace.finish, len(weak.calls)) == (["---"], Finish.TOKENS, 1)


def test_only_rulers_come_to_an_end():
    weak = ScriptedModel(lambda prefix: "---")
    trace = solve(weak, says(), WeakAlone(), max_steps=4)
    assert (len(trace.steps), trace.finish) == (4, Finish.STEPS)
    assert trace.usage["weak"].tokens == len(weak.calls)


def test_a_degenerate_end_is_an_end():
    weak = says("one", Completion("", Ending.SOLUTION, 1, 0))
    trace = solve(weak, says(), WeakAlone())
    assert (len(trace.steps), trace.finish, len(weak.calls)) == (2, Finish.STOP, 2)


@pytest.mark.parametrize("rules", [Rules(), Rules(ends=End.MODEL), Rules(asks_on=True)])
def test_a_step_that_is_cut_is_marked_and_ends_the_solution(rules):
    weak = says("one", Completion("bad tw", Ending.LENGTH, 5, 0), r"\boxed{3}")
    strong = says("ONE", Completion("TW", Ending.LENGTH, 5, 0), r"\boxed{4}")
    for trace in (
        solve(weak, strong, WeakAlone(), rules=rules),
        solve(weak, strong, StrongAlone(), rules=rules),
        solve(weak, strong, Threshold(0.5), doubts_bad(), rules=rules),
    ):
        assert [step.truncated for step in trace.steps] == [False, True]
        assert (trace.finish, trace.truncated_steps) == (Finish.LENGTH, 1)
        assert trace.unfinished and trace.answer is None


def test_a_cut_that_is_rewritten_ends_nothing():
    weak = says("one", Completion("bad tw", Ending.LENGTH, 5, 0), r"\boxed{3}")
    trace = solve(weak, says("ONE", "TWO"), Threshold(0.5), doubts_bad())
    assert [step.truncated for step in trace.steps] == [False, False, False]
    assert (trace.answer, trace.unfinished) == ("3", False)


def test_a_cut_by_the_limit_of_the_solution_is_named():
    weak = says("one", Completion("tw", Ending.LENGTH, 5, 0))
    trace = solve(weak, says(), WeakAlone(), max_tokens=6)
    assert (texts(trace), trace.finish) == (ended("one", "tw"), Finish.TOKENS)
    assert trace.unfinished and trace.steps[1].truncated


def test_an_answer_in_a_cut_step_counts():
    cut = Completion(r"\boxed{2} and", Ending.LENGTH, 5, 0)
    trace = solve(says("one", cut), says(), WeakAlone())
    assert (trace.answer, trace.finish, trace.truncated_steps) == ("2", Finish.ANSWER, 1)


@pytest.mark.parametrize("policy", [WeakAlone(), StrongAlone(), Decisions(REGENERATE)])
def test_thirty_steps_are_the_limit(policy):
    endless = ScriptedModel(lambda prefix: f"step {len(prefix.steps)}")
    trace = solve(endless, endless, policy)
    assert (len(trace.steps), trace.finish) == (30, Finish.STEPS)
    assert trace.unfinished and trace.answer is None


def test_an_answer_in_the_last_step_counts():
    trace = solve(says("one", r"\boxed{2}"), says(), WeakAlone(), max_steps=2)
    assert (trace.answer, trace.finish, trace.unfinished) == ("2", Finish.ANSWER, False)


@pytest.mark.parametrize("rules", [Rules(), Rules(ends=End.MODEL)])
def test_a_model_may_end_by_itself(rules):
    stops = says("one", Completion("two", Ending.SOLUTION, 3, 9))
    for trace in (
        solve(stops, says(), WeakAlone(), rules=rules),
        solve(says(), stops, StrongAlone(), rules=rules),
        solve(says("one", "two"), stops, Decisions(REGENERATE), rules=rules),
    ):
        assert (len(trace.steps), trace.finish, trace.answer) == (2, Finish.STOP, None)
        assert not trace.unfinished


def stopping(text):
    return Completion(text, Ending.SOLUTION, 2, 0)


def test_an_end_token_without_a_box_may_be_asked_on():
    stops = says(stopping("one"), stopping("end"), r"\boxed{3}")
    for trace in (
        solve(stops, says(), WeakAlone(), rules=Rules(asks_on=True)),
        solve(says(), stops, StrongAlone(), rules=Rules(asks_on=True)),
        solve(says("one", "two", "three"), stops, Decisions(REGENERATE), rules=Rules(asks_on=True)),
    ):
        assert texts(trace) == ended("one", "end", r"\boxed{3}")
        assert (trace.answer, trace.finish) == ("3", Finish.ANSWER)


def test_who_is_asked_on_writes_as_many_steps_as_there_may_be():
    endless = ScriptedModel(lambda prefix: stopping("no"))
    trace = solve(endless, endless, WeakAlone(), rules=Rules(asks_on=True), max_steps=4)
    assert (len(trace.steps), trace.finish, trace.answer) == (4, Finish.STEPS, None)
    assert trace.unfinished


@pytest.mark.parametrize("rejoins", [False, True])
def test_an_end_token_behind_nothing_is_asked_on_at_once(rejoins):
    left = [stopping(""), "one", r"\boxed{2}"]
    weak = ScriptedModel(lambda prefix: left.pop(0))
    trace = solve(weak, says(), WeakAlone(), rules=Rules(asks_on=True, rejoins=rejoins))
    before = "" if rejoins else "\n\n"
    assert texts(trace) == [f"{before}one\n\n", BOX[rejoins]]
    assert [step.draft_tokens for step in trace.steps] == [2 + 1, 1]
    assert [prefix.text for prefix in weak.calls] == ["", before, f"{before}one\n\n"]


def test_an_end_token_with_a_box_is_not_asked_on():
    trace = solve(says(stopping(r"\boxed{1}")), says(), WeakAlone(), rules=Rules(asks_on=True))
    assert (len(trace.steps), trace.finish) == (1, Finish.ANSWER)


def test_only_the_model_may_end_where_a_box_does_not():
    """And a solution without a limit on its steps may have more than the usual thirty."""

    def script(prefix):
        done = len(prefix.steps) == 99
        return stopping("done") if done else rf"step \boxed{{{len(prefix.steps)}}}"

    for policy in (WeakAlone(), StrongAlone(), Decisions(REGENERATE)):
        model = ScriptedModel(script)
        trace = solve(model, model, policy, rules=Rules(ends=End.MODEL), max_steps=None)
        assert (len(trace.steps), trace.finish, trace.unfinished) == (100, Finish.STOP, False)
        assert trace.answer == "98"  # The last box, in an earlier step than the last.


def test_the_answer_of_an_earlier_step_is_found():
    weak = says(r"so \boxed{1}", r"no, \boxed{2}", "I mean it", stopping("Done."))
    trace = solve(weak, says(), WeakAlone(), rules=Rules(ends=End.MODEL))
    assert (len(trace.steps), trace.answer, trace.finish) == (4, "2", Finish.STOP)


def test_a_box_may_reach_over_steps():
    trace = solve(says(r"so \boxed{1,", "2}", "three"), says(), WeakAlone())
    assert (len(trace.steps), trace.answer, trace.finish) == (2, "1,\n\n2", Finish.ANSWER)


def test_a_box_that_is_not_closed_ends_a_solution_where_it_may():
    steps = ("one", r"so \boxed{2", stopping("3"))
    trace = solve(says(*steps), says(), WeakAlone(), rules=Rules(open_box=True))
    assert (len(trace.steps), trace.finish) == (2, Finish.ANSWER)
    assert len(solve(says(*steps), says(), WeakAlone()).steps) == 3


def test_an_end_with_an_answer_is_an_answer():
    trace = solve(says(Completion(r"\boxed{1}", Ending.SOLUTION, 1, 0)), says(), WeakAlone())
    assert (trace.answer, trace.finish) == ("1", Finish.ANSWER)


@pytest.mark.parametrize("policy", [WeakAlone(), StrongAlone(), Decisions(REGENERATE)])
def test_a_question_beyond_the_context_is_an_error(policy):
    full = says(ContextExceeded("too long"))
    with pytest.raises(ContextExceeded):
        solve(full, full, policy)


def test_a_step_beyond_the_context_ends_the_solution():
    full = says("one", ContextExceeded("too long"))
    for trace in (
        solve(full, says(), WeakAlone()),
        solve(says(), full, StrongAlone()),
        solve(says("one", "two"), full, Decisions(CONTINUE, REGENERATE)),
    ):
        assert (texts(trace), trace.finish) == (followed("one"), Finish.CONTEXT)
        assert trace.unfinished and trace.answer is None


def test_a_draft_lost_to_the_context_is_discarded():
    full = says("-", ContextExceeded("too long"))
    trace = solve(says("one", "two words"), full, Decisions(CONTINUE, REGENERATE))
    assert trace.usage["weak"].tokens == 3
    assert (trace.weak_tokens, trace.discarded_tokens) == (1, 2)


def test_a_model_that_does_not_answer_ends_the_solution():
    trace = solve(says("one", ModelUnavailable("weak: gone")), says(), WeakAlone())
    assert texts(trace) == followed("one")
    assert (trace.finish, trace.failure) == (Finish.FAILED, "weak: gone")
    assert trace.unfinished and trace.answer is None and trace.usage["weak"].tokens == 1


@pytest.mark.parametrize("question", ["", "  ", "\n\n\t"])
def test_an_empty_problem_is_refused(question):
    weak = says("one")
    router = Router(weak=weak, strong=says(), policy=WeakAlone())
    with pytest.raises(InvalidInput, match="empty"):
        router.solve(question)
    with pytest.raises(InvalidInput, match="empty"):
        list(router.events(question))
    assert not weak.calls


def test_a_policy_that_needs_scores_needs_a_scorer():
    with pytest.raises(InvalidInput, match=r"'thr:0\.5' needs a scorer"):
        Router.of(Models(says(), says(), {}), policy=Threshold(0.5))


def test_a_router_without_a_scorer_scores_by_the_writers_confidence():
    def sure(text, log_probability):
        return Completion(text, Ending.STEP, 3, 5, log_probability=log_probability)

    weak = says(sure("good", -0.1), sure("bad", -2.0), sure(r"so \boxed{4}", 0.0))
    strong = says("-", sure("GOOD", -0.5), "-")
    trace = Router(weak=weak, strong=strong, policy="thr:0.5").solve("a question")
    assert trace.scorer == "logprob"
    assert texts(trace) == ["good\n\n", "GOOD\n\n", r"so \boxed{4}"]
    assert [step.score for step in trace.steps] == pytest.approx([exp(-0.1), exp(-2), 1])


class SeedKeeper:
    """Remembers the seed that came with each number of earlier steps."""

    name = "seeds"

    def __init__(self):
        self.seeds = {}

    async def write_step(self, prefix, sampling, seed):
        self.seeds[prefix.question, len(prefix.steps)] = seed
        return Completion("a step", Ending.STEP, 2, 0)


def seeds_of(policy, question="a question", seed=0):
    keeper = SeedKeeper()
    Router(weak=keeper, strong=keeper, policy=policy, config=RouterConfig(max_steps=5)).solve(
        question, seed
    )
    return keeper.seeds


def test_policies_share_their_random_numbers():
    assert seeds_of(WeakAlone()) == seeds_of(StrongAlone()) == seeds_of(Decisions(REGENERATE))
    seeds = [seeds_of(WeakAlone(), question, seed) for question in "ab" for seed in (0, 1)]
    every = [seed for of_run in seeds for seed in of_run.values()]
    assert len(set(every)) == len(every) == 20


completions = st.builds(
    Completion,
    text=st.sampled_from(("one", "two words", "---", "", r"so \boxed{7}")),
    ending=st.sampled_from((*[Ending.STEP] * 4, *Ending)),
    tokens=st.integers(0, 50),
    prompt_tokens=st.integers(50, 90),
    cached_tokens=st.integers(0, 50),
)
scripts = st.lists(completions, min_size=1, max_size=12)
actions = st.lists(st.sampled_from(Action), min_size=1, max_size=8)


def recorded(script):
    """A model that goes through `script` again and again, and what it has written."""
    written, source = [], cycle(script)

    def write(prefix):
        written.append(next(source))
        return written[-1]

    return ScriptedModel(write), written


def total(written):
    counts = ((c.prompt_tokens, c.cached_tokens, c.tokens, 1) for c in written)
    return sum((Usage(*of_one) for of_one in counts), Usage())


def restarted(trace):
    """The draft at which the policy chose to restart, if it did."""
    return trace.abandoned[-1] if trace.abandoned else None


@given(scripts, scripts, actions, st.booleans())
def test_the_books_add_up(weak_script, strong_script, decisions, scored):
    weak, drafted = recorded(weak_script)
    strong, rewritten = recorded(strong_script)
    policy, scorer = Decisions(*decisions), doubts_bad()
    policy.needs_scores = scored
    trace = solve(weak, strong, policy, scorer, max_steps=8)
    calls = len(scorer.calls)
    assert trace.usage == {
        "weak": total(drafted),
        "strong": total(rewritten),
        "scorer": Usage(10 * calls, 4 * calls, calls, calls),
    }
    written = (*trace.abandoned, *trace.steps)
    assert trace.usage["weak"].tokens == sum(step.draft_tokens for step in written)
    assert trace.strong_tokens == sum(step.strong_tokens for step in written)
    kept = sum(step.draft_tokens for step in trace.steps if step.author is Author.WEAK)
    assert trace.weak_tokens == kept
    assert trace.weak_tokens + trace.discarded_tokens == trace.usage["weak"].tokens
    assert trace.seconds == 0.5 * len(scorer.calls)
    for step in written:
        assert (step.author is Author.WEAK) == (step.action is CONTINUE) or step is restarted(trace)
        assert (step.draft is None) or step.author is Author.STRONG
    rewritten = sum(step.draft is not None for step in written)
    assert trace.interventions == rewritten + bool(trace.abandoned)
    assert not trace.abandoned or {step.author for step in trace.steps} == {Author.STRONG}


@given(scripts, scripts, actions)
def test_a_solution_ends_once_and_says_why(weak_script, strong_script, decisions):
    weak, _ = recorded(weak_script)
    strong, _ = recorded(strong_script)
    trace = solve(weak, strong, Decisions(*decisions), max_steps=8)
    answers = [boxed_answer(step.text) for step in trace.steps]
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert (answers[-1] is not None) == (trace.finish is Finish.ANSWER)
    assert trace.finish is not Finish.STEPS or len(trace.steps) == 8
    assert 1 <= len(trace.steps) <= 8


@given(st.lists(st.sampled_from(("one", r"\boxed{2}", r"\boxed{3", "4}")), min_size=1))
@example([r"\boxed{3", "4}"])
@example([r"\boxed{2}", "one"])
def test_there_is_an_answer_exactly_where_the_finish_says_so(steps):
    *steps, last = steps
    trace = solve(says(*steps, stopping(last)), says(), WeakAlone(), max_steps=None)
    assert (trace.answer is not None) == (trace.finish is Finish.ANSWER)
    assert trace.answer == boxed_answer(trace.solution)


@given(scripts, scripts, actions, st.integers(1, 120))
def test_a_limit_of_tokens_holds(weak_script, strong_script, decisions, limit):
    def writes(script):
        class Obedient(ScriptedModel):
            async def write_step(self, prefix, sampling, seed):
                assert sampling.max_tokens >= 1
                step = await super().write_step(prefix, sampling, seed)
                if step.tokens <= sampling.max_tokens:
                    return step
                return replace(step, tokens=sampling.max_tokens, ending=Ending.LENGTH)

        source = cycle(script)
        return Obedient(lambda prefix: next(source))

    trace = solve(
        writes(weak_script), writes(strong_script), Decisions(*decisions), max_tokens=limit
    )
    assert sum(step.tokens for step in trace.steps) <= limit
    if trace.finish is Finish.TOKENS:
        assert sum(step.tokens for step in trace.steps) == limit


# Any text, byte for byte


def dictated(text, whole_lines):
    """A model that writes a text in pieces: what is left of it, up to its next blank line.

    Some leave out the blank line; then that alone is written, for a step is closed by two ends of
    lines and no more.
    """

    def script(prefix):
        said = "".join(prefix.steps)
        assert text.startswith(said)
        left = split_steps(text[len(said) :])
        if len(left) < 2:
            return Completion(left[0] if left else "", Ending.SOLUTION, 1, 1)
        first = left[0]
        plain = first.removesuffix("\n\n")
        leaves_out = not whole_lines and plain and not plain.endswith("\n")
        return Completion(plain if leaves_out else first, Ending.STEP, 1, 1)

    return ScriptedModel(script)


parts_of_texts = st.sampled_from(
    ("\n", "\n\n", "\n\n\n", "---", "***\n", "```", "    x = 1\n", "\tif a:", " ", "  \n", "é✓",
     "$$", r"\[ a \]", "- item", "{question}", "one", ".", "\r\n", r"\boxed{1}")
)  # fmt: skip
any_text = st.one_of(
    st.lists(parts_of_texts, max_size=14).map("".join), st.text("a \n-", max_size=30)
)


@given(any_text, st.booleans())
@example("    a\n\n        b\n\n\n\n---\n\n```\n\nc  \n", True)
@example("---\n\n***\n\n===\n\nend", False)
def test_the_steps_of_a_solution_are_its_text(text, whole_lines):
    for policy in (WeakAlone(), StrongAlone(), Threshold(0), Threshold(1), Threshold(0.5)):
        model = dictated(text, whole_lines)
        trace = solve(
            model, model, policy, doubts_bad(), rules=Rules(ends=End.MODEL), max_steps=None
        )
        assert trace.solution == "".join(texts(trace)) == text
        assert trace.finish is Finish.STOP
        for prefix in model.calls:
            assert prefix.text == "".join(prefix.steps)


@given(any_text)
@example("one\n\n\n\n    two\n\n---\n\nthree")
@example("\n\n\n\n")
def test_steps_that_are_rejoined_are_cut_at_the_first_blank_line(text):
    """And joined again by one: further line ends are lost, and steps without content."""
    pieces = split_steps(text) or [""]
    left = [Completion(piece, Ending.STEP, 1, 1) for piece in pieces[:-1]]
    left.append(Completion(pieces[-1], Ending.SOLUTION, 1, 1))
    model = ScriptedModel(lambda prefix: left.pop(0))
    rules = Rules(ends=End.MODEL, rejoins=True)
    trace = solve(model, says(), WeakAlone(), rules=rules, max_steps=None)
    *earlier, last = texts(trace)
    cut = iter([piece.partition("\n\n")[0] + "\n\n" for piece in pieces[:-1]])
    assert all(step in cut for step in earlier)  # In their order.
    assert last == pieces[-1]
    assert not any(prefix.text.startswith("\n\n") for prefix in model.calls)


# How much may be written


class Limits(ScriptedModel):
    """Writes steps of five tokens and keeps the limits that it was given."""

    def __init__(self, read=0):
        super().__init__(lambda prefix: Completion("a step", Ending.STEP, 5, read + 7 * self.asked))
        self.limits = []

    @property
    def asked(self):
        return len(self.limits)

    async def write_step(self, prefix, sampling, seed):
        self.limits.append(sampling.max_tokens)
        return await super().write_step(prefix, sampling, seed)


def test_prompt_and_step_share_the_context():
    """What a model has read and written is known from its last answer on."""
    model = Limits(read=10)
    rules = Rules(context=60)
    solve(model, says(), WeakAlone(), rules=rules, max_steps=5, sampling=Sampling(max_tokens=40))
    # Answers of 5 tokens after prompts of 17, 24, 31 and 38.
    assert model.limits == [40, 60 - 22, 60 - 29, 60 - 36, 60 - 43]


def test_the_context_of_one_model_is_not_that_of_the_other():
    weak, strong = Limits(read=10), Limits(read=20)
    policy = Decisions(CONTINUE, REGENERATE, CONTINUE)
    solve(weak, strong, policy, rules=Rules(context=60), max_steps=3)
    assert weak.limits == [60, 60 - 22, 60 - 29]
    assert strong.limits == [60]


def test_a_context_that_is_full_leaves_one_token():
    model = Limits(read=100)
    solve(model, says(), WeakAlone(), rules=Rules(context=50), max_steps=3)
    assert model.limits == [50, 1, 1]


def test_without_a_context_of_its_own_a_step_may_have_all_its_tokens():
    model = Limits(read=5000)
    solve(model, says(), WeakAlone(), max_steps=3)
    assert model.limits == [2048] * 3


def test_what_was_said_before_is_part_of_the_prefix():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    history = (Turn(Role.SYSTEM, "be brief"), Turn(Role.USER, "hello"))
    router = Router(weak=weak, strong=strong, scorer=scorer, policy=Threshold(0.5))
    router.solve("a question", history=history)
    prefixes = (*weak.calls, *strong.calls, *(trace for trace, _ in scorer.calls))
    assert {prefix.history for prefix in prefixes} == {history}
    assert prefixes[0].full_question == "be brief\n\nhello\n\na question"


def test_policies_say_whether_they_restart():
    for spec in ("weak", "strong", "thr:0.5", "takeover:0.5", "random:0.5"):
        assert not parse_policies(spec)[0].restarts
    assert parse_policies("cascade:0.5")[0].restarts
