"""Rewriting inside a step: places, extents, authors, limits and failures."""

import asyncio
import math
import re
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.config import Fallback, Fallbacks, RouterConfig, Rules
from trim.configuration.source import shipped_models
from trim.costs import Price, Prices
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.evaluation.run import Evaluation
from trim.evaluation.shared import SharedModel
from trim.evaluation.suites import CHAIN, generate, right_step
from trim.events import Kept, Regenerated, SpanWritten
from trim.models.model import Ending, Prefix, Sampling, Token
from trim.numerics import uniform
from trim.policies.oracle import OracleToken
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies, parse_policy
from trim.policies.span import Extent, Unit, joins, word_start
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.shipped import SAMPLING
from trim.testing import ScriptedModel, ScriptedSpanModel, check_model, check_policy, cut_words
from trim.types import Action, Author, Finish, Span, Trace

LIMITS = RouterConfig(sampling=Sampling(max_tokens=40), max_steps=6)


def tells(*steps, cut=cut_words, doubts=(), vocabulary="words"):
    """A model that writes these steps, the last without a blank line; it doubts these tokens."""
    texts = [*(f"{step}\n\n" for step in steps[:-1]), steps[-1]]

    def script(prefix):
        return texts[min(len(prefix.steps), len(texts) - 1)].removeprefix(prefix.begun)

    return ScriptedSpanModel(
        script, cut, lambda prefix, text: 0.5 if text in doubts else 1.0, vocabulary
    )


def solve(weak, strong, policy, config=LIMITS, **options):
    router = Router(weak=weak, strong=strong, policy=policy, config=config, **options)
    return router.solve("a question")


def spans(step):
    return [(span.text, str(span.author)) for span in step.spans]


def test_the_strong_model_writes_the_doubtful_token_and_the_weak_one_goes_on():
    weak = ScriptedSpanModel(
        lambda prefix: " 7 eggs.\n\n" if not prefix.begun else " eggs, then \\boxed{6}.",
        probability=lambda prefix, text: 0.3 if text == " 7" else 1.0,
    )
    strong = ScriptedSpanModel(lambda prefix: " 6 hens and more.\n\n")
    trace = solve(weak, strong, "token:0.5")
    assert trace.solution == " 6 eggs, then \\boxed{6}."
    (step,) = trace.steps
    assert spans(step) == [(" 6", "strong"), (" eggs, then \\boxed{6}.", "weak")]
    assert (step.author, step.action) == (Author.STRONG, Action.REGENERATE)
    assert (step.strong_tokens, step.draft_tokens, step.tokens) == (1, 4, 4)
    assert (trace.strong_tokens, trace.weak_tokens, trace.discarded_tokens) == (1, 3, 1)
    assert trace.usage["strong"].requests == trace.interventions == 1
    assert trace.finish is Finish.ANSWER


@pytest.mark.parametrize(
    ("policy", "written"),
    [
        ("token:0.9", "one TWO three, four."),
        ("token:0.9:2", "one TWO THREE, four."),
        ("clause:0.9", "one TWO THREE, four."),
        ("tail:0.9", "one TWO THREE, FOUR."),
        ("token:0.5", "one two three, four."),
        ("random:1+tail:0.9", "one TWO THREE, FOUR."),
        ("random:1+tail:0.1", "ONE TWO THREE, FOUR."),
        ("random:0+tail:0.9", "one two three, four."),
    ],
)
def test_a_policy_says_from_where_and_how_far(policy, written):
    weak = tells("one two three, four.", "\\boxed{1}", doubts=(" two",))
    strong = tells("ONE TWO THREE, FOUR.", "\\boxed{1}")
    lower = ScriptedSpanModel(  # continues whatever stands there
        lambda prefix: weak.script(prefix.inside(prefix.begun.lower())), weak.cut, weak.probability
    )
    upper = ScriptedSpanModel(lambda prefix: strong.script(prefix.inside(prefix.begun.upper())))
    assert solve(lower, upper, policy).steps[0].text == written + "\n\n"


def test_the_strong_model_may_write_every_token_and_end_the_step():
    steps = ("one two", "so", "\\boxed{1}")
    weak = tells(*steps, doubts=[*cut_words("one two so \\boxed{1}\n"), "so", "\\boxed{1}"])
    trace = solve(weak, tells(*steps), "token:0.9")
    assert [step.text for step in trace.steps] == ["one two\n\n", "so\n\n", "\\boxed{1}"]
    assert trace.finish is Finish.ANSWER
    assert trace.strong_tokens == sum(step.tokens for step in trace.steps) == 8
    assert trace.usage["weak"].tokens == trace.discarded_tokens == 8


@pytest.mark.parametrize("room", [1, 2, 3, 4])
def test_a_step_is_cut_at_its_limit_behind_either_author(room):
    words = "one two three four five"
    asked = []

    class Weak(ScriptedSpanModel):
        async def write_span(self, prefix, sampling, seed, stop=None):
            asked.append(sampling.max_tokens)
            return await super().write_span(prefix, sampling, seed, stop)

    strong = tells(words)
    weak = Weak(strong.script, probability=lambda prefix, text: 0.5 if "t" in text else 1.0)
    config = RouterConfig(sampling=Sampling(max_tokens=room))
    (step,) = (trace := solve(weak, strong, "token:0.9", config)).steps
    assert asked == [left for left in (room, room - 2, room - 3) if left > 0]
    assert (step.text, step.tokens, step.truncated) == (" ".join(words.split()[:room]), room, True)
    assert trace.finish is Finish.LENGTH


def test_events_tell_each_span():
    weak = tells("one two three", "\\boxed{1}", doubts=(" two",))
    strong = ScriptedSpanModel(lambda prefix: " TWO and\n\n")
    router = Router(
        weak=ScriptedSpanModel(
            lambda prefix: weak.script(prefix.inside(prefix.begun.lower())),
            weak.cut,
            weak.probability,
        ),
        strong=strong,
        policy="token:0.9",
        config=LIMITS,
    )
    first = [event for event in router.events("q") if getattr(event, "index", 0) == 1]
    assert first[:3] == [
        SpanWritten(1, Author.WEAK, "one", 2, " two"),
        SpanWritten(1, Author.STRONG, " TWO", 1),
        SpanWritten(1, Author.WEAK, " three\n\n", 3),
    ]
    assert isinstance(first[-1], Kept)
    assert "".join(event.text for event in first[:3]) == first[-1].step.text


def test_a_rewritten_end_is_told_as_a_whole_step():
    weak = tells("one two three", "\\boxed{1}", doubts=(" two",))
    strong = ScriptedSpanModel(lambda prefix: " TWO\n\n")
    router = Router(weak=weak, strong=strong, policy="random:1+tail:0.9", config=LIMITS)
    rewritten = next(e for e in router.events("q") if isinstance(e, Regenerated))
    assert (rewritten.text, rewritten.author) == ("one TWO\n\n", Author.STRONG)
    step = router.solve("q").steps[0]
    assert (step.draft, step.draft_tokens, step.strong_tokens) == ("one two three\n\n", 5, 3)
    assert spans(step) == [("one", "weak"), (" TWO\n\n", "strong")]


def test_drafting_stops_at_the_doubtful_token():
    weak = tells("one two three four five six", "\\boxed{1}", doubts=(" two",))
    strong = ScriptedSpanModel(lambda prefix: " TWO three four five six\n\n")
    step = solve(weak, strong, "tail:0.9").steps[0]
    assert step.draft_tokens == 2


# Two tokenizers: one writes single digits and letters, the other words and groups of three digits.


def cut_characters(text):
    return re.findall(r" ?\S|\s", text)


def cut_groups(text):
    return re.findall(r" ?\d{1,3}| ?[A-Za-z]+|[^\S\n]+|\n|[^\w\s]", text)


@pytest.mark.parametrize(("vocabulary", "kept"), [("characters", "total 12"), ("groups", "total")])
def test_a_number_is_rewritten_whole_unless_both_models_cut_it_alike(vocabulary, kept):
    weak = ScriptedSpanModel(
        lambda prefix: " total 1234 eggs.\n\n"[1:].removeprefix(prefix.begun) or ".\n\n",
        cut_characters,
        lambda prefix, text: 0.2 if prefix.begun.endswith("12") else 1.0,
        vocabulary="characters",
    )
    strong = ScriptedSpanModel(lambda prefix: " 5678 hens\n\n", cut_groups, vocabulary=vocabulary)
    step = solve(weak, strong, "token:0.9", RouterConfig(max_steps=1)).steps[0]
    assert step.spans[0] == Span(kept, Author.WEAK, len(cut_characters(kept)))
    if vocabulary == "groups":
        assert step.spans[1] == Span(" 5678", Author.STRONG, 2)  # both groups of the number


texts = st.text(st.sampled_from("ab12 .,\n"), min_size=1, max_size=24)
chances = st.integers(0, 2**32)
policies = st.sampled_from(
    [
        "token:0.5",
        "token:0.5:3",
        "clause:0.5",
        "tail:0.5",
        "thr:0.5+tail:0.5",
        "random:0.5+tail:0.9",
    ]
)


def rambling(text, seed, cut, vocabulary):
    """A model that goes on with `text`, and doubts a share of its tokens."""

    def script(prefix):
        place = (len(prefix.begun) + len(prefix.steps)) % len(text)
        return text[place:] + "\n\n"

    def probability(prefix, piece):
        return 0.05 + 0.9 * uniform(seed, len(prefix.text), piece)

    return ScriptedSpanModel(script, cut, probability, vocabulary)


@given(texts, texts, chances, policies, st.booleans(), st.none() | st.integers(0, 12))
def test_spans_add_up_under_every_policy_and_limit(weak, strong, seed, policy, alike, limit):
    second = "characters" if alike else "groups"
    models = (
        rambling(weak, seed, cut_characters, "characters"),
        rambling(strong, seed, cut_characters if alike else cut_groups, second),
    )
    config = RouterConfig(sampling=Sampling(max_tokens=30), max_steps=4, max_strong_tokens=limit)
    trace = solve(*models, policy, config)
    drafted = sum(step.draft_tokens for step in trace.steps)
    assert trace.usage["weak"].tokens == drafted
    assert trace.strong_tokens == sum(step.strong_tokens for step in trace.steps)
    assert trace.weak_tokens + trace.discarded_tokens == drafted
    assert trace.usage["strong"].requests == len(models[1].calls)
    if limit is not None and "+" not in policy:
        assert trace.strong_tokens <= limit
    for step in trace.steps:
        assert step.tokens <= 30
        if step.spans:
            assert "".join(span.text for span in step.spans).rstrip("\n") == step.text.rstrip("\n")
            strong = any(span.author is Author.STRONG for span in step.spans)
            assert (step.author is Author.STRONG) == strong
            assert (step.action is Action.REGENERATE) == strong
    assert Trace.from_json(trace.to_json()) == trace


@given(texts, texts, chances)
def test_a_kept_span_of_the_weak_model_holds_no_doubtful_token(weak, strong, seed):
    drafter = rambling(weak, seed, cut_characters, "characters")
    rewriter = rambling(strong, seed, cut_characters, "characters")
    trace = solve(drafter, rewriter, "token:0.5")
    for number, step in enumerate(trace.steps):
        before = Prefix("a question", tuple(step.text for step in trace.steps[:number]))
        begun = ""
        for span in step.spans or (Span(step.text, step.author, step.tokens),):
            for piece in cut_characters(span.text) if span.author is Author.WEAK else ():
                assert drafter.probability(before.inside(begun), piece) >= 0.5
                begun += piece
            if span.author is Author.STRONG:
                begun += span.text


def test_a_step_may_end_between_two_authors():
    """The first line end of the blank line is the strong model's, the second the weak one's."""
    weak = ScriptedSpanModel(
        lambda prefix: "\n\\boxed{1}" if prefix.begun else "one." if not prefix.steps else "two",
        probability=lambda prefix, text: 0.1 if text == "one." else 1.0,
    )
    strong = ScriptedSpanModel(lambda prefix: "ONE.\n")
    trace = solve(weak, strong, "token:0.9:2")
    assert trace.steps[0].text == "ONE.\n\n"
    assert spans(trace.steps[0]) == [("ONE.\n", "strong"), ("\n", "weak")]


def test_a_step_without_content_goes_on():
    weak = tells("---", "\\boxed{1}")
    weak = ScriptedSpanModel(
        lambda prefix: "after it\n\n" if prefix.begun else "---\n\n" if not prefix.steps else "end"
    )
    trace = solve(weak, ScriptedSpanModel(lambda prefix: "strong\n\n"), "token:0.5")
    assert [step.text for step in trace.steps] == ["---\n\nafter it\n\n", "end"]
    assert trace.usage["weak"].tokens == sum(step.draft_tokens for step in trace.steps)


def test_a_strong_model_that_writes_nothing_leaves_the_draft_as_it_is():
    weak = tells("one two", "\\boxed{1}", doubts=(" two",))
    empty = ScriptedSpanModel(lambda prefix: "", cut=lambda text: [""])
    assert solve(weak, empty, "token:0.9:2").steps[0].text.startswith("one")


@pytest.mark.parametrize("policy", ["token:0.9", "tail:0.9", "random:1+tail:0.9"])
def test_without_an_answer_the_strong_model_is_replaced_by_the_draft(policy):
    weak = tells("one two three", "\\boxed{1}", doubts=(" two",))
    down = ScriptedSpanModel(lambda prefix: ModelUnavailable("down"))
    failed = solve(weak, down, policy)
    assert (failed.finish, failed.failure) == (Finish.FAILED, "down")
    kept = solve(weak, down, policy, RouterConfig(fallbacks=Fallbacks(strong=Fallback.KEEP)))
    assert [step.text for step in kept.steps] == ["one two three\n\n", "\\boxed{1}"]
    assert kept.steps[0].fallback == "strong"
    assert kept.steps[0].author is Author.WEAK


@pytest.mark.parametrize("error", [ContextExceeded("full"), ModelUnavailable("down")])
def test_a_step_that_cannot_be_finished_keeps_the_spans_that_were_sent(error):
    weak = tells("one two three", "\\boxed{1}", doubts=(" two",))
    router = Router(
        weak=weak, strong=ScriptedSpanModel(lambda prefix: error), policy="token:0.9", config=LIMITS
    )
    *events, last = router.events("a question")
    sent = "".join(event.text for event in events if isinstance(event, SpanWritten))
    trace = last.trace
    assert trace.solution == sent == "one"
    assert trace.finish is (Finish.CONTEXT if "full" in str(error) else Finish.FAILED)
    assert trace.steps[0].truncated
    assert trace.usage["weak"].tokens == trace.steps[0].draft_tokens == 2


def test_without_the_weak_model_the_strong_one_finishes_the_step():
    answers = iter(["one two\n\n", ModelUnavailable("down"), "\\boxed{1}"])
    weak = ScriptedSpanModel(
        lambda prefix: next(answers), probability=lambda p, text: 0.1 if text == " two" else 1.0
    )
    strong = ScriptedSpanModel(lambda prefix: " TWO THREE\n\n")
    config = RouterConfig(fallbacks=Fallbacks(weak=Fallback.ESCALATE))
    trace = solve(weak, strong, "token:0.9", config)
    assert trace.steps[0].text == "one TWO TWO THREE\n\n"
    assert trace.steps[0].fallback == "weak"


class Doubtful:
    """Scores every draft low."""

    name = "doubtful"

    async def score(self, trace, written):
        return Scores((0.1,) * len(written), 1)


def test_a_draft_stands_where_nobody_can_finish_its_rewrite():
    """The strong model has spent its tokens inside the step, and the weak one has failed."""
    weak = ScriptedSpanModel(
        lambda prefix: ModelUnavailable("down") if prefix.begun else "a b c d e.\n\n",
        probability=lambda prefix, text: 0.3 if text == " d" else 1.0,
    )
    strong = ScriptedSpanModel(lambda prefix: " D E F G.\n\n")
    config = RouterConfig(
        max_steps=1, max_strong_tokens=2, fallbacks=Fallbacks(weak=Fallback.ESCALATE)
    )
    trace = solve(weak, strong, "thr:0.5+tail:0.5", config, scorer=Doubtful())
    (step,) = trace.steps
    assert (step.text, step.fallback) == ("a b c d e.\n\n", "weak")
    assert trace.strong_tokens == 2


def ladder(policy, **limits):
    """The first step by three models, of which each doubts a word."""
    weak = ScriptedSpanModel(
        lambda prefix: "a b c d e.\n\n",
        probability=lambda prefix, text: 0.3 if text == " d" else 1.0,
    )
    middle = ScriptedSpanModel(
        lambda prefix: " M X Y.\n\n",
        probability=lambda prefix, text: 0.3 if text == " X" else 1.0,
        name="middle",
    )
    strong = ScriptedSpanModel(lambda prefix: " STRONG.\n\n", name="strong")
    config = RouterConfig(max_steps=1, **limits)
    trace = solve(weak, strong, policy, config, scorer=Doubtful(), intermediate=[middle])
    return trace, trace.steps[0]


def test_each_model_is_the_author_of_what_it_wrote():
    trace, step = ladder("thr:0.5+tail:0.5")
    assert spans(step) == [("a b c", "weak"), (" M", "intermediate"), (" STRONG.\n\n", "strong")]
    assert trace.weak_tokens == 3


def test_a_limit_of_the_strong_model_leaves_the_intermediate_one():
    trace, step = ladder("thr:0.5+tail:0.5", max_strong_tokens=0)
    assert (step.text, step.level) == ("a b c M X Y.\n\n", 1)
    assert trace.usage["strong"].requests == 0


@pytest.mark.parametrize("lead", ["---\n\n", "\n\n"])
def test_a_step_without_content_is_left_out_where_steps_are_rejoined(lead):
    def script(prefix):
        if not prefix.text.strip("\n-"):
            return "2 + 5 = 7.\n\n" if prefix.text else lead
        return "So \\boxed{7}.\n\n"

    config = RouterConfig(max_steps=4, rules=Rules(rejoins=True))
    trace = solve(ScriptedSpanModel(script), ScriptedSpanModel(script), "token:0.5", config)
    texts = ["2 + 5 = 7.\n\n", "So \\boxed{7}.\n\n"]
    assert [step.text for step in trace.steps] == texts
    assert trace.usage["weak"].tokens == len(cut_words("".join((lead, *texts))))
    assert all("".join(text for text, _ in spans(step)) in ("", step.text) for step in trace.steps)


def test_a_policy_that_cannot_be_hashed_is_evaluated():
    @dataclass
    class Mine(Policy):
        name: str = "mine"
        inside_steps = True
        needs_scores = False

        def decide(self, observation):
            return Action.CONTINUE

        def at_token(self, observation):
            return Extent() if observation.token.text == " two" else None

    told = [SharedModel(tells("one two", "\\boxed{1}")) for _ in range(2)]
    trace = solve(*told, Mine())
    assert (trace.answer, trace.strong_tokens) == ("1", 1)


@pytest.mark.parametrize("limit", [0, 1, 2, 5])
def test_a_limit_of_strong_tokens_holds_to_the_token(limit):
    weak = tells("a b c d e f", "\\boxed{1}", doubts=(" b", " d", " f"))
    strong = ScriptedSpanModel(lambda prefix: " X Y Z\n\n")
    config = RouterConfig(max_strong_tokens=limit, max_steps=2)
    for policy in ("token:0.9", "token:0.9:3", "tail:0.9"):
        assert solve(weak, strong, policy, config).strong_tokens <= limit


def test_money_ends_the_calls():
    weak = tells("a b c d", "\\boxed{1}", doubts=(" b", " d"))
    strong = ScriptedSpanModel(lambda prefix: " X\n\n")
    assert solve(weak, strong, "token:0.9", RouterConfig(max_money=0, max_steps=2)).steps
    assert not strong.calls


def test_a_draft_that_takes_the_last_money_is_finished_by_its_author():
    weak = tells("a b c \\boxed{1}", doubts=(" b",))
    strong = ScriptedSpanModel(lambda prefix: " X\n\n")
    prices = Prices(weak=Price(0, 0, 100), strong=Price(0, 0, 100))
    config = RouterConfig(max_money=1e-4, prices=prices)
    assert solve(weak, strong, "token:0.9", config).finish is Finish.ANSWER
    assert not strong.calls


def test_a_deadline_stops_a_draft_at_its_next_token():
    def slow(prefix, text):
        time.sleep(0.02)
        return 1.0

    weak = ScriptedSpanModel(lambda prefix: "word " * 400 + "\n\n", probability=slow)
    trace = solve(
        weak, ScriptedSpanModel(lambda p: "x\n\n"), "token:0.5", RouterConfig(max_seconds=0.2)
    )
    assert trace.finish is Finish.FAILED
    assert "time is up" in trace.failure
    assert trace.usage["weak"].tokens < 100


@pytest.mark.parametrize(
    "spec",
    [
        *("token", "token:", "token:1.5", "token:-0.1", "token:nan", "token:0.5:0", "token:0.5:x"),
        *("token:0.9+tail:0.9", "tail:0.5+tail:0.9", "thr:0.5+tail:0.5+tail:0.9"),
        *("clause:0.5:3", "tail:2", "thr:0.5+tail:3", "thr:0.5+tail:", "nothing+tail:0.5"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(spec):
    with pytest.raises(InvalidInput) as refused:
        parse_policy(spec)
    assert "\n" not in str(refused.value)


def test_settings_are_read_and_named():
    names = [policy.name for policy in parse_policies("token:0.5,0.9:8")]
    assert names == ["token:0.5", "token:0.9:8"]
    assert parse_policy("token:0.5:1") == parse_policy("token:0.5")
    both = [policy.name for policy in parse_policies("thr:0.8,0.9+tail:0.5,0.7")]
    assert both == [f"thr:{k}+tail:{p}" for k in (0.8, 0.9) for p in (0.5, 0.7)]
    for name in (*names, *both, "clause:0.25", "tail:1"):
        assert parse_policy(name).name == name
        check_policy(parse_policy(name))


@pytest.mark.parametrize("policy", ["token:0.9", "thr:0.5+tail:0.9"])
@pytest.mark.parametrize("role", ["weak", "strong"])
def test_a_model_that_cannot_write_inside_a_step_is_refused_before_anything_is_spent(policy, role):
    models = {name: ScriptedSpanModel(lambda prefix: "a\n\n") for name in ("weak", "strong")}
    models[role] = ScriptedModel(lambda prefix: "a\n\n", name="blind")
    with pytest.raises(InvalidInput, match="blind cannot write inside a step"):
        Router(**models, policy=policy).solve("a question")
    assert not any(model.calls for model in models.values())


def test_a_policy_of_another_package_decides_at_tokens():
    class Digits(Policy):
        name = "digits"
        needs_scores = False
        inside_steps = True

        def at_token(self, observation):
            return Extent() if observation.token.text.strip().isdigit() else None

        def decide(self, observation):
            return Action.CONTINUE

    weak = tells("a 1 b", "\\boxed{1}")
    strong = ScriptedSpanModel(lambda prefix: " 2\n\n")
    trace = solve(weak, strong, Digits(), RouterConfig(max_steps=1))
    assert ("a", "weak") in spans(trace.steps[0])
    assert (" 2", "strong") in spans(trace.steps[0])


def test_a_policy_inside_steps_may_reject_a_whole_draft():
    class Both(Policy):
        name = "both"
        inside_steps = True
        needs_scores = True

        def at_token(self, observation):
            return None

        def decide(self, observation):
            return Action.REGENERATE if observation.scores[-1] < 0.5 else Action.CONTINUE

    class Low:
        name = "low"

        async def score(self, trace, written):
            return Scores((0.1,) * len(written), 0)

    strong = tells("A", "\\boxed{2}")
    trace = solve(tells("a", "\\boxed{1}"), strong, Both(), scorer=Low())
    assert trace.solution == "A\n\n\\boxed{2}"
    assert [step.author for step in trace.steps] == [Author.STRONG] * 2


def test_the_beginning_of_a_rewritten_step_has_the_confidence_of_its_own_tokens():
    seen = []

    class Watching:
        name = "watching"

        async def score(self, trace, written):
            seen.append([step.log_probability for step in written])
            return Scores((0.1,) * len(written), 0)

    weak = tells("a b bad", "\\boxed{1}", doubts=(" bad",))
    strong = tells("a b good", "\\boxed{1}")
    solve(weak, strong, "thr:0.5+tail:0.9", scorer=Watching())
    (draft,), (rewritten, _) = seen[:2]
    assert draft < rewritten == 0


def written(*pieces):
    return [Token(piece, -0.1) for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ((" so", ",", " we"), 2),
        ((" is", " 3", ".", "5"), None),
        ((" is", " 3", ".", " So"), 3),
        ((" is", " 3", ".\n"), 3),
        ((" line", "\n"), 2),
        ((" x", ";"), 2),
        ((" it", " is"), None),
        ((" at", " 12", ":", "30"), None),
    ],
)
def test_a_clause_ends_at_its_mark_and_not_inside_a_number(pieces, kept):
    extent, found = Extent(Unit.CLAUSE), None
    for count in range(1, len(pieces) + 1):
        found = extent.end(written(*pieces[:count]), False)
        if found is not None:
            break
    assert found == kept


pieces = st.lists(st.text(st.sampled_from("ab1 .\\"), max_size=3), min_size=1, max_size=8)


@given(pieces, st.data())
def test_spans_of_models_that_cut_words_differently_begin_and_end_between_words(pieces, data):
    tokens = written(*pieces)
    place = data.draw(st.integers(0, len(tokens) - 1))
    start = word_start(tokens, place)
    assert start == 0 or not joins(pieces[start - 1][-1:], pieces[start][:1])
    for count in range(1, len(tokens) + 1):
        kept = Extent(tokens=place + 1).end(tokens[:count], True)
        if kept is not None:
            assert place < kept <= count
            last, after = pieces[kept - 1][-1:], "".join(pieces[kept:count])[:1]
            assert last
            assert not joins(last, after or " ")
            break


def test_a_place_moves_back_to_the_beginning_of_a_word():
    assert word_start(written(" an", "sw", "er", " is"), 2) == 0
    assert word_start(written(" is", " 1", "2", "3"), 3) == 1
    assert word_start(written("\\", "frac", "{", "1"), 1) == 0
    assert word_start(written(" is", "."), 1) == 1


def test_a_letter_in_several_tokens_belongs_to_its_word():
    cut = written(" caf", "", "é", " au")
    assert [Extent().end(cut[:count], True) for count in range(1, 5)] == [None, None, None, 3]
    assert [word_start(cut, place) for place in range(4)] == [0, 0, 0, 3]


def test_real_models_reach_the_strong_ones_accuracy_for_a_few_of_its_tokens():
    """Single tokens on fresh problems of `chain`: the promise of the method below the step."""
    models = shipped_models()
    problems = list(generate(CHAIN, 24, seed=20260))
    by_question = {problem.question: problem for problem in problems}
    oracle = OracleToken(
        lambda question, earlier: right_step(CHAIN, by_question[question], earlier)
    )
    right, tokens = {}, {}
    for policy in (parse_policy("weak"), parse_policy("token:0.9"), oracle, parse_policy("strong")):
        router = Router.of(models, policy=policy, config=RouterConfig(sampling=SAMPLING))
        traces = [router.solve(problem.question, seed=5) for problem in problems]
        right[policy.name] = sum(
            trace.answer == problem.answer for trace, problem in zip(traces, problems, strict=True)
        )
        tokens[policy.name] = sum(trace.strong_tokens for trace in traces)
    assert right["token:0.9"] >= right["weak"] + 5
    assert right["oracle-token"] >= 22
    assert tokens["oracle-token"] < tokens["token:0.9"] < 0.06 * tokens["strong"]


def test_the_shipped_model_keeps_the_promises_of_one_that_writes_inside_steps():
    check_model(shipped_models().weak, next(generate(CHAIN, 1, 5)).question)


async def test_shared_prefixes_change_no_text():
    models = shipped_models()
    problem = next(generate(CHAIN, 1, seed=8))
    chosen = [policy for spec in ("token:0.9", "token:0.9:2", "tail:0.9")
              for policy in parse_policies(spec)]  # fmt: skip
    found = []
    for share in (True, False):
        run = Evaluation(
            [problem], chosen, models, None, 3, RouterConfig(sampling=SAMPLING),
            share_prefixes=share,
        )  # fmt: skip
        found.append([trace.solution for trace in await run.solve(problem)])
    assert found[0] == found[1]


def test_endings_of_a_span():
    model = ScriptedSpanModel(lambda prefix: "one two three")
    limited = asyncio.run(model.write_span(Prefix("q"), Sampling(max_tokens=2), 0))
    assert (limited.text, limited.ending) == ("one two", Ending.LENGTH)
    whole = asyncio.run(model.write_span(Prefix("q"), Sampling(max_tokens=9), 0))
    assert whole.ending is Ending.SOLUTION
    assert math.isclose(whole.log_probability, 0)


def test_a_draft_that_is_stopped_at_its_first_token_keeps_nothing():
    model = tells("one two")
    stopped = asyncio.run(model.write_span(Prefix("q"), Sampling(), 0, lambda tokens: 0))
    assert (stopped.tokens, stopped.kept, len(stopped.dropped)) == (1, 0, 1)
    whole = asyncio.run(model.write_step(Prefix("q"), Sampling(), 0))
    assert whole.kept == whole.tokens
