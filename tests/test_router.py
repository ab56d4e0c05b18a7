"""The step loop, with models, scorers and decisions that are told what to do."""

import asyncio
from dataclasses import replace
from itertools import cycle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.events import Decided, Drafted, Finished, Kept, Regenerated, Scored
from trim.models.model import Completion, Ending, Prefix, Role, Turn
from trim.models.scripted import ScriptedModel
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Action, Policy
from trim.policies.registry import parse_policies
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.steps import boxed_answer
from trim.trace import Author, Finish, Step, Usage

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
    return Router(weak, strong, scorer, policy, **options).solve("a question")


WEAK = ("one", "bad two", "three", r"so \boxed{4}")
STRONG = ("ONE", "TWO", "THREE", r"SO \boxed{5}")


def texts(trace):
    return [step.text for step in trace.steps]


def test_only_doubted_steps_are_rewritten():
    weak, strong = says(*WEAK), says(*STRONG)
    trace = solve(weak, strong, Threshold(0.5), doubts_bad())
    assert texts(trace) == ["one", "TWO", "three", r"so \boxed{4}"]
    assert trace.solution == "one\n\nTWO\n\nthree\n\nso \\boxed{4}"
    assert (trace.answer, trace.finish) == ("4", Finish.ANSWER)
    assert (trace.question, trace.policy, trace.seed) == ("a question", "thr:0.5", 0)
    assert trace.steps[1] == Step(
        "TWO", Author.STRONG, REGENERATE, 0.1, "bad two", draft_tokens=2, strong_tokens=1
    )
    assert trace.steps[2] == Step("three", Author.WEAK, CONTINUE, 0.9, None, draft_tokens=1)
    assert strong.calls == [Prefix("a question", ("one",))]
    assert weak.calls[2] == Prefix("a question", ("one", "TWO"))


def test_a_takeover_leaves_the_rest_to_the_strong_model():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    trace = solve(weak, strong, Takeover(0.5), scorer)
    assert texts(trace) == ["one", "TWO", "THREE", r"SO \boxed{5}"]
    assert [step.action for step in trace.steps] == [CONTINUE, TAKE_OVER, TAKE_OVER, TAKE_OVER]
    assert [step.score for step in trace.steps] == [0.9, 0.1, None, None]
    assert [step.draft for step in trace.steps] == [None, "bad two", None, None]
    assert len(weak.calls) == len(scorer.calls) == 2
    assert trace.interventions == 1


def test_the_strong_model_alone_never_drafts():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    trace = solve(weak, strong, StrongAlone(), scorer)
    assert texts(trace) == list(STRONG)
    assert weak.calls == scorer.calls == []
    assert trace.usage["weak"] == trace.usage["scorer"] == Usage()
    assert trace.interventions == trace.discarded_tokens == trace.weak_tokens == 0
    assert trace.strong_tokens == 5


def test_the_weak_model_alone_never_asks():
    strong, scorer = says(*STRONG), doubts_bad()
    trace = solve(says(*WEAK), strong, WeakAlone(), scorer)
    assert texts(trace) == list(WEAK)
    assert strong.calls == scorer.calls == []
    assert [step.score for step in trace.steps] == [None] * 4


def test_events_come_in_order():
    router = Router(says(*WEAK), says(*STRONG), doubts_bad(), Takeover(0.5))
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
    router = Router(says(*WEAK), says(*STRONG), None, Decisions(CONTINUE))
    assert not any(isinstance(event, Scored) for event in router.events("a question"))


def test_all_four_ways_agree():
    router = Router(says(*WEAK), says(*STRONG), doubts_bad(), Threshold(0.5))

    async def collect():
        return [event async for event in router.aevents("a question", 3)]

    events = list(router.events("a question", 3))
    assert events == asyncio.run(collect())
    trace = router.solve("a question", 3)
    assert trace == asyncio.run(router.asolve("a question", 3))
    assert events[-1] == Finished(trace)
    assert [event.step for event in events if isinstance(event, Kept)] == list(trace.steps)


def test_events_may_be_left_early():
    router = Router(says(*WEAK), says(*STRONG), doubts_bad(), Threshold(0.5))
    events = router.events("a question")
    assert next(events) == Drafted(1, "one", 1)
    events.close()
    assert router.solve("a question").answer == "4"


def test_solutions_side_by_side_do_not_touch():
    router = Router(says(*WEAK), says(*STRONG), doubts_bad(), Threshold(0.5))

    async def together():
        return await asyncio.gather(*(router.asolve(question) for question in "abc"))

    assert asyncio.run(together()) == [router.solve(question) for question in "abc"]


def test_a_restart_throws_everything_away():
    weak, strong = says(*WEAK), says(*STRONG)
    trace = solve(weak, strong, Decisions(CONTINUE, CONTINUE, RESTART), doubts_bad())
    assert texts(trace) == list(STRONG)
    assert {step.action for step in trace.steps} == {RESTART}
    assert {(step.author, step.draft) for step in trace.steps} == {(Author.STRONG, None)}
    assert [step.text for step in trace.abandoned] == ["one", "bad two", "three"]
    assert [step.action for step in trace.abandoned] == [CONTINUE, CONTINUE, RESTART]
    assert (trace.weak_tokens, trace.discarded_tokens, trace.strong_tokens) == (0, 4, 5)
    assert (trace.answer, trace.finish, trace.interventions) == ("5", Finish.ANSWER, 1)
    assert strong.calls[0] == Prefix("a question")
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
    *events, finished = Router(weak, says(*STRONG), doubts_bad(), policy).events("a question")
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
        return [seen.last for seen in policy.seen]

    assert last("one", r"\boxed{2}") == [False, True]
    assert last("one", Completion("two", Ending.SOLUTION, 1, 0)) == [False, True]
    assert last("one", Completion("tw", Ending.LENGTH, 1, 0), "three", max_steps=3) == [
        False,
        False,
        True,
    ]


def test_the_strong_model_may_run_out_of_context_after_a_restart():
    full = says("ONE", ContextExceeded("too long"))
    trace = solve(says("one"), full, Decisions(RESTART))
    assert (texts(trace), trace.finish) == (["ONE"], Finish.CONTEXT)
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
def test_a_finished_draft_that_is_rewritten_finishes_the_solution(draft):
    """The method: "a finished draft may still be regenerated, after which the solution is
    finished too", here by a step without an answer."""
    weak = says(draft, r"two \boxed{3}")
    trace = solve(weak, says("ONE"), Threshold(0.5), doubts_bad())
    assert texts(trace) == ["ONE"]
    assert (trace.answer, trace.unfinished) == (None, False)


def test_a_rewritten_step_is_scored_with_the_next_draft():
    scorer = ScriptedScorer({"one": 0.1, "ONE": 0.7, "two": 0.2, "TWO": 0.6, "three": 0.8}.get)
    policy = Decisions(REGENERATE, REGENERATE, CONTINUE, CONTINUE)
    policy.needs_scores = True
    scorer.judge = lambda step, known=scorer.judge: known(step) or 0.3
    solve(says("one", "two", "three", r"\boxed{4}"), says(*STRONG), policy, scorer)
    assert scorer.calls == [
        (Prefix("a question", ("one",)), 0),
        (Prefix("a question", ("ONE", "two")), 0),
        (Prefix("a question", ("ONE", "TWO", "three")), 1),
        (Prefix("a question", ("ONE", "TWO", "three", r"\boxed{4}")), 3),
    ]
    assert [seen.scores for seen in policy.seen] == [
        (0.1,),
        (0.7, 0.2),
        (0.7, 0.6, 0.8),
        (0.7, 0.6, 0.8, 0.3),
    ]


def test_a_policy_sees_the_solution_so_far():
    policy = Decisions(CONTINUE, REGENERATE)
    router = Router(says(*WEAK), says("-", "T W O", "-", r"\boxed{5}"), None, policy)
    router.solve("  a question ", seed=7)
    seen = policy.seen[2]
    assert (seen.question, seen.seed) == ("a question", 7)
    assert seen.steps == ("one", "T W O", "three")
    assert seen.tokens == (1, 3, 1)
    assert seen.actions == (CONTINUE, REGENERATE)
    assert seen.scores == ()


def test_a_degenerate_step_is_not_kept_but_counted():
    after_ruler = {(): "---", ("---",): "one", ("one",): r"\boxed{2}"}
    weak = ScriptedModel(lambda prefix: after_ruler[prefix.steps])
    trace = solve(weak, says(), WeakAlone())
    assert texts(trace) == ["one", r"\boxed{2}"]
    assert [step.draft_tokens for step in trace.steps] == [2, 1]
    # Prefixes of 2, 3 and 3 words were read.
    assert trace.usage["weak"] == Usage(prompt_tokens=8, tokens=3)


def test_a_degenerate_rewrite_is_not_kept_but_counted():
    after_rulers = {(): "---", ("---",): "***", ("---", "***"): r"\boxed{2}"}
    strong = ScriptedModel(lambda prefix: after_rulers[prefix.steps])
    trace = solve(says("one"), strong, Decisions(REGENERATE))
    assert texts(trace) == [r"\boxed{2}"]
    assert trace.steps[0].strong_tokens == trace.strong_tokens == 3


def test_only_rulers_come_to_an_end():
    weak = ScriptedModel(lambda prefix: "---")
    trace = solve(weak, says(), WeakAlone(), max_steps=4)
    assert (len(trace.steps), trace.finish) == (4, Finish.STEPS)
    assert trace.usage["weak"].tokens == len(weak.calls)


def test_a_degenerate_end_is_an_end():
    weak = says("one", Completion("", Ending.SOLUTION, 1, 0))
    trace = solve(weak, says(), WeakAlone())
    assert (len(trace.steps), trace.finish, len(weak.calls)) == (2, Finish.STOP, 2)


def test_truncated_steps_are_marked():
    weak = says("one", Completion("bad tw", Ending.LENGTH, 5, 0), r"\boxed{3}")
    strong = says("ONE", Completion("TW", Ending.LENGTH, 5, 0))
    trace = solve(weak, strong, WeakAlone())
    assert [step.truncated for step in trace.steps] == [False, True, False]
    assert trace.truncated_steps == 1
    trace = solve(weak, strong, Threshold(0.5), doubts_bad())
    assert [step.truncated for step in trace.steps] == [False, True, False]
    trace = solve(weak, says("ONE", "TWO"), Threshold(0.5), doubts_bad())
    assert [step.truncated for step in trace.steps] == [False, False, False]


@pytest.mark.parametrize("policy", [WeakAlone(), StrongAlone(), Decisions(REGENERATE)])
def test_thirty_steps_are_the_limit(policy):
    endless = ScriptedModel(lambda prefix: f"step {len(prefix.steps)}")
    trace = solve(endless, endless, policy)
    assert (len(trace.steps), trace.finish) == (30, Finish.STEPS)
    assert trace.unfinished and trace.answer is None


def test_an_answer_in_the_last_step_counts():
    trace = solve(says("one", r"\boxed{2}"), says(), WeakAlone(), max_steps=2)
    assert (trace.answer, trace.finish, trace.unfinished) == ("2", Finish.ANSWER, False)


def test_a_model_may_end_by_itself():
    stops = says("one", Completion("two", Ending.SOLUTION, 3, 9))
    for trace in (
        solve(stops, says(), WeakAlone()),
        solve(says(), stops, StrongAlone()),
        solve(says("one", "two"), stops, Decisions(REGENERATE)),
    ):
        assert (len(trace.steps), trace.finish, trace.answer) == (2, Finish.STOP, None)
        assert not trace.unfinished


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
        assert (texts(trace), trace.finish) == (["one"], Finish.CONTEXT)
        assert trace.unfinished and trace.answer is None


def test_a_draft_lost_to_the_context_is_discarded():
    full = says("-", ContextExceeded("too long"))
    trace = solve(says("one", "two words"), full, Decisions(CONTINUE, REGENERATE))
    assert trace.usage["weak"].tokens == 3
    assert (trace.weak_tokens, trace.discarded_tokens) == (1, 2)


def test_a_model_that_does_not_answer_ends_the_solution():
    trace = solve(says("one", ModelUnavailable("weak: gone")), says(), WeakAlone())
    assert (texts(trace), trace.finish, trace.failure) == (["one"], Finish.FAILED, "weak: gone")
    assert trace.unfinished and trace.answer is None and trace.usage["weak"].tokens == 1


@pytest.mark.parametrize("question", ["", "  ", "\n\n\t"])
def test_an_empty_problem_is_refused(question):
    weak = says("one")
    router = Router(weak, says(), None, WeakAlone())
    with pytest.raises(InvalidInput, match="empty"):
        router.solve(question)
    with pytest.raises(InvalidInput, match="empty"):
        list(router.events(question))
    assert not weak.calls


def test_a_policy_that_needs_scores_needs_a_scorer():
    with pytest.raises(InvalidInput, match=r"'thr:0\.5' needs a scorer"):
        Router(says(), says(), None, Threshold(0.5))


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
    Router(keeper, keeper, None, policy, max_steps=5).solve(question, seed)
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
    counts = ((c.prompt_tokens, c.cached_tokens, c.tokens) for c in written)
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
    assert trace.usage == {
        "weak": total(drafted),
        "strong": total(rewritten),
        "scorer": Usage(10 * len(scorer.calls), 4 * len(scorer.calls), len(scorer.calls)),
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
def test_there_is_an_answer_exactly_where_the_finish_says_so(steps):
    *steps, last = (Completion(step, Ending.LENGTH, 1, 0) for step in steps)
    trace = solve(says(*steps, replace(last, ending=Ending.SOLUTION)), says(), WeakAlone())
    assert (trace.answer is not None) == (trace.finish is Finish.ANSWER)


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


def test_what_was_said_before_is_part_of_the_prefix():
    weak, strong, scorer = says(*WEAK), says(*STRONG), doubts_bad()
    history = (Turn(Role.SYSTEM, "be brief"), Turn(Role.USER, "hello"))
    router = Router(weak, strong, scorer, Threshold(0.5))
    router.solve("a question", history=history)
    prefixes = (*weak.calls, *strong.calls, *(trace for trace, _ in scorer.calls))
    assert {prefix.history for prefix in prefixes} == {history}
    assert prefixes[0].asked == "be brief\n\nhello\n\na question"


def test_policies_say_whether_they_restart():
    for spec in ("weak", "strong", "thr:0.5", "takeover:0.5", "random:0.5"):
        assert not parse_policies(spec)[0].restarts
    assert parse_policies("cascade:0.5")[0].restarts
