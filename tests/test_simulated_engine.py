"""The simulated engines keep their stated speeds; in simulated time, so nothing is timed."""

import asyncio
import urllib.request
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep import Lockstep, LockstepModel, LockstepScorer
from serving import ROUTED, Level, questions, routing, run
from serving_spans import CACHED as WITH_CACHE
from serving_spans import NO_CACHE, PREFILLED, break_even, generated, recorded
from serving_spans import run as run_spans
from simulated.clock import SimulatedLoop
from simulated.drafts import GeneratedDrafts, shipped_tokens
from simulated.engine import Engine, PrefixCache
from simulated.model import SimulatedModel
from simulated.protocol import Direct
from simulated.script import DOUBTS, ENDS, SCORES, TOKENS, score, write_all, write_step
from simulated.server import serving
from simulated.speeds import ENGINES, SCORER, STRONG, WEAK, Speeds, on_h100

from trim.engines.http import HttpServer
from trim.models.model import Ending, Prefix, Sampling
from trim.policies.threshold import Threshold
from trim.steps import bare, boxed_answer, split_steps
from trim.testing import check_model

SPEEDS = Speeds(
    weights_seconds=0.010,
    prefill_seconds=0.001,
    sequence_seconds=0.002,
    request_seconds=0.005,
    batched_tokens=100,
)
CACHED = replace(SPEEDS, cached_blocks=1000)

speeds = st.builds(
    Speeds,
    weights_seconds=st.floats(1e-4, 0.1),
    prefill_seconds=st.floats(1e-6, 1e-3),
    sequence_seconds=st.floats(0, 0.01),
    request_seconds=st.floats(0, 0.1),
    sequences=st.integers(1, 8),
    batched_tokens=st.integers(20, 400),
    cached_blocks=st.integers(0, 40),
)


def words(count, start=0):
    return [f"w{number}" for number in range(start, start + count)]


def in_simulated_time(engine, *requests):
    """Requests (begin, prompt, tokens): the seconds that each takes, and what was served."""

    async def ask(begin, prompt, tokens):
        await asyncio.sleep(begin)
        before = engine.now()
        served = await engine.serve(prompt, words(max(tokens - 1, 0), 10_000), tokens)
        return engine.now() - before, served

    async def ask_all():
        return await asyncio.gather(*(ask(*request) for request in requests))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(ask_all())


@given(speeds, st.integers(1, 300), st.integers(1, 200))
def test_a_request_alone_takes_what_is_stated(speeds, read, tokens):
    ((seconds, _),) = in_simulated_time(Engine(speeds), (0, words(read), tokens))
    stated = speeds.request_seconds + speeds.forward(1, read) + (tokens - 1) * speeds.forward(1)
    assert seconds == pytest.approx(stated)


@given(st.integers(1, 10), st.integers(1, 10), st.integers(1, 50))
def test_requests_together_decode_at_the_speed_of_their_number(count, read, tokens):
    together = [(0, words(read, 100 * number), tokens) for number in range(count)]
    served = in_simulated_time(Engine(SPEEDS), *together)
    decode = (tokens - 1) * SPEEDS.forward(count)
    for seconds, _ in served:
        assert seconds == pytest.approx(0.005 + SPEEDS.forward(count, count * read) + decode)


def test_one_that_ends_earlier_leaves_the_others_faster():
    served = in_simulated_time(Engine(SPEEDS), (0, words(5), 11), (0, words(5, 50), 31))
    first = 0.005 + SPEEDS.forward(2, 10) + 10 * SPEEDS.forward(2)
    assert [seconds for seconds, _ in served] == pytest.approx(
        [first, first + 20 * SPEEDS.forward(1)]
    )


def test_reading_a_prompt_writes_one_token_of_each_other_sequence():
    """The second arrives while the first decodes, and its long prompt holds that up by one pass."""
    begun = 0.005 + SPEEDS.forward(1, 5) + 4 * SPEEDS.forward(1)
    served = in_simulated_time(Engine(SPEEDS), (0, words(5), 11), (begun - 0.005, words(90, 50), 1))
    reading = SPEEDS.forward(2, 90)
    assert served[1][0] == pytest.approx(0.005 + reading)
    assert served[0][0] == pytest.approx(begun + reading + 5 * SPEEDS.forward(1))


def test_prompts_that_do_not_fit_into_a_pass_are_read_in_the_next():
    served = in_simulated_time(Engine(SPEEDS), *((0, words(60, 70 * n), 1) for n in range(2)))
    passes = SPEEDS.forward(1, 60)
    assert [seconds for seconds, _ in served] == pytest.approx([0.005 + passes, 0.005 + 2 * passes])


def test_more_sequences_than_there_is_room_for_queue():
    one = replace(SPEEDS, sequences=1)
    served = in_simulated_time(Engine(one), (0, words(5), 4), (0, words(5, 50), 4))
    each = one.forward(1, 5) + 3 * one.forward(1)
    assert [seconds for seconds, _ in served] == pytest.approx([0.005 + each, 0.005 + 2 * each])


requests = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 120).map(words), st.integers(0, 60)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(speeds, requests)
def test_counters_add_up_and_nothing_is_faster_than_alone(speeds, requests):
    engine = Engine(speeds)
    served = in_simulated_time(engine, *requests)
    counters = engine.counters
    assert counters.requests == len(requests)
    assert counters.written == sum(tokens for _, _, tokens in requests)
    assert counters.read + counters.cached == sum(len(prompt) for _, prompt, _ in requests)
    assert counters.cached == sum(request.cached for _, request in served)
    slowest = max(speeds.forward(speeds.sequences, 0), 0)
    whole = 0.0
    for (seconds, request), (_, prompt, tokens) in zip(served, requests, strict=True):
        new = len(prompt) - request.cached
        decode = max(tokens - 1, 0) * speeds.forward(1)
        assert seconds >= (speeds.request_seconds + speeds.forward(1, new) + decode) * (1 - 1e-9)
        whole += speeds.forward(speeds.sequences, new) + max(tokens - 1, 0) * slowest
    latest = max(
        begin + seconds for (seconds, _), (begin, *_) in zip(served, requests, strict=True)
    )
    assert latest <= (2 + speeds.request_seconds + whole) * (1 + 1e-9)
    assert counters.busy <= whole * (1 + 1e-9)


def test_a_caller_that_gives_up_leaves_its_place():
    engine = Engine(SPEEDS)

    async def both():
        given_up = asyncio.create_task(engine.serve(words(5), words(1000), 1001))
        other = asyncio.create_task(engine.serve(words(5, 50), words(30), 31))
        first = 0.005 + SPEEDS.forward(2, 10) + 10 * SPEEDS.forward(2)
        await asyncio.sleep(first)
        given_up.cancel()
        await other
        return first, engine.now()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        first, end = runner.run(both())
    assert end == pytest.approx(first + 20 * SPEEDS.forward(1))
    assert (engine.counters.dropped, engine.counters.written) == (1, 11 + 31)


@settings(max_examples=40)
@given(requests, st.data())
def test_whoever_stays_is_answered_whoever_gives_up(requests, data):
    leaving = {n: data.draw(st.floats(0.001, 1)) for n in range(0, len(requests), 2)}
    engine = Engine(replace(SPEEDS, sequences=3))

    async def ask(number, begin, prompt, tokens):
        await asyncio.sleep(begin)
        request = engine.serve(prompt, words(max(tokens - 1, 0)), tokens)
        try:
            return await asyncio.wait_for(request, leaving.get(number))
        except TimeoutError:
            return None

    async def ask_all():
        return await asyncio.gather(*(ask(n, *request) for n, request in enumerate(requests)))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        served = runner.run(ask_all())
    assert all(served[1::2])
    assert engine.counters.dropped == served.count(None)
    finished = sum(request.tokens for request in served if request)
    assert finished <= engine.counters.written <= sum(tokens for _, _, tokens in requests)


def test_what_is_cached_is_not_read_again():
    first = words(40)
    # 40 tokens of the prompt and 19 words of the answer are 3 whole blocks of 16.
    again = [*first, *words(19, 10_000), *words(7, 500)]
    one_after_the_other = ((0, first, 20), (10, again, 1))
    _, (seconds, served) = in_simulated_time(Engine(CACHED), *one_after_the_other)
    assert served.cached == 48
    assert seconds == pytest.approx(0.005 + CACHED.forward(1, len(again) - 48))
    _, (seconds, served) = in_simulated_time(Engine(SPEEDS), *one_after_the_other)
    assert served.cached == 0
    assert seconds == pytest.approx(0.005 + SPEEDS.forward(1, len(again)))


tokens = st.lists(st.sampled_from("ab"), max_size=30)


@given(st.lists(tokens, max_size=8), tokens, st.integers(1, 5))
def test_the_cache_holds_whole_blocks_of_common_prefixes(kept, asked, block):
    cache = PrefixCache(block, 10_000)
    for sequence in kept:
        cache.add(sequence)
    common = 0
    for sequence in kept:
        shared = 0
        while shared < min(len(sequence), len(asked)) and sequence[shared] == asked[shared]:
            shared += 1
        common = max(common, shared)
    expected = min(common, max(len(asked) - 1, 0)) // block * block
    assert cache.cached(asked) == expected


@given(st.lists(tokens, min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 6))
def test_the_cache_keeps_to_its_capacity_and_forgets_ends_first(kept, block, capacity):
    cache = PrefixCache(block, capacity)
    for sequence in kept:
        cache.add(sequence)
        assert len(cache) <= capacity
        whole = min(len(sequence) // block, capacity)
        assert cache.cached([*sequence, "z"]) == whole * block


def test_the_longest_unused_goes_first():
    cache = PrefixCache(1, 2)
    cache.add(["a"])
    cache.add(["b"])
    assert cache.cached(["a", "z"]) == 1
    cache.add(["c"])
    assert [cache.cached([token, "z"]) for token in "abc"] == [1, 0, 1]


def test_published_times_come_out():
    """17.1 s a query of a 32B model on two GPUs, 10.3 s of a 7B model on one."""
    seven = on_h100(7.61e9, layers=28, key_value_heads=4)
    assert 1318 * STRONG.forward(1) == pytest.approx(17.1, rel=0.01)
    assert 1318 * seven.forward(1) == pytest.approx(10.3, rel=0.01)
    assert WEAK.forward(1) < seven.forward(1) < STRONG.forward(1)
    assert SCORER.cached_blocks == 0 < STRONG.cached_blocks < WEAK.cached_blocks


@given(st.text(max_size=20), st.integers(0, 2**31 - 1))
def test_the_same_request_gets_the_same_text(prompt, seed):
    first = write_step("weak", prompt, seed)
    assert write_step("weak", prompt, seed) == first
    assert first.tokens == len(first.words) + 1 == len(first.text.split()) + 1
    assert first.stopped == (boxed_answer(first.text) is None)
    assert write_step("strong", prompt, seed).text != first.text


def test_a_solution_at_one_go_has_the_same_steps():
    whole = write_all("strong", "a question", 3, 10_000)
    said = ""
    for step in split_steps(whole.text):
        assert write_step("strong", "a question" + said, 3).text == bare(step)
        said += step
    assert said == whole.text
    assert boxed_answer(whole.text) is not None
    assert len(write_all("strong", "a question", 3, 5).within(5).text.split()) == 5


def test_texts_and_scores_are_distributed_as_stated():
    count = 4000
    steps = [write_step("weak", f"{n}" + "\n\n" * 6, 0) for n in range(count)]
    assert sum(step.tokens for step in steps) / count == pytest.approx(TOKENS, rel=0.06)
    ended = sum(not step.stopped for step in steps) / count
    assert ended == pytest.approx(ENDS[6], abs=0.03)
    scores = [score(step.text) for step in steps]
    assert all(0 <= value <= 1 for value in scores)
    even = [write_step("weak", f"{n}", 0, spread=0.3).tokens for n in range(count)]
    assert sum(even) / count == pytest.approx(TOKENS, rel=0.03)
    assert max(even) < max(step.tokens for step in steps) / 3
    for threshold, share in SCORES:
        assert sum(value < threshold for value in scores) / count == pytest.approx(share, abs=0.03)


def test_servers_answer_as_the_engines_do_in_this_process():
    """The same steps, scores and tokens over HTTP, by the project's own clients."""
    prefix = Prefix(questions(1)[0])

    async def ask(router):
        step = await router.weak.write_step(prefix, Sampling(), 5)
        begun = prefix.then(step.text)
        strong = await router.strong.write_step(begun, Sampling(), 5)
        cut = await router.strong.write_step(begun, Sampling(max_tokens=2), 5)
        scores = await router.scorer.score(begun.then(strong.text), [step, strong])
        whole = await router.strong.continue_text(prefix.question, "", 10_000)
        return (
            [replace(one, seconds=0.0) for one in (step, strong, cut)],
            replace(scores, seconds=0.0),
            whole,
        )

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        engines = {name: Direct(name, Engine(speeds)) for name, speeds in ENGINES.items()}
        here = runner.run(ask(routing(engines.__getitem__, None)))
    with serving(ENGINES, 0.001) as servers:
        there = asyncio.run(ask(routing(lambda name: HttpServer(servers.urls[name]), None)))
        health = servers.urls["weak"].removesuffix("/v1") + "/health"
        assert urllib.request.urlopen(health).status == 200
        assert servers.report().engines["strong"].requests == 3
        assert servers.report().engines["strong"].requests == 0
    assert here == there
    (step, strong, cut), scores, whole = there
    assert step.log_probability is not None
    assert (cut.tokens, cut.cached_tokens > 0) == (2, True)
    assert scores.values == (score(bare(step.text)), score(bare(strong.text)))
    assert whole.usage.tokens > strong.tokens


def test_all_arms_decide_alike_and_lockstep_is_never_faster():
    level = Level(8, 16, 1.0, ())
    found = {arm.name: run(arm, 0.5, level, None) for arm in ROUTED}
    decisions = found["lockstep"].decisions
    assert len(decisions) == 16
    assert any(action == "regenerate" for trace in decisions for _, _, action, _ in trace)
    for other in found.values():
        assert other.decisions == decisions
    lockstep, concurrent = found["lockstep"], found["concurrent"]
    assert concurrent.seconds < lockstep.seconds
    assert concurrent.latencies.mean() < lockstep.latencies.mean()
    assert all(one.seconds <= one.delivered for one in lockstep.solved)


def test_in_lockstep_a_stage_begins_when_the_one_before_is_over_for_all():
    """Nothing of a stage is under way while another stage is."""
    under_way = []

    class Watched:
        def __init__(self, inner, stage):
            self.inner, self.stage, self.name = inner, stage, stage

        async def watch(self, call):
            assert all(stage == self.stage for stage in under_way)
            under_way.append(self.stage)
            try:
                return await call
            finally:
                under_way.remove(self.stage)

        async def write_step(self, *arguments):
            return await self.watch(self.inner.write_step(*arguments))

        async def score(self, *arguments):
            return await self.watch(self.inner.score(*arguments))

    async def solve_all():
        engines = {name: Direct(name, Engine(speeds)) for name, speeds in ENGINES.items()}
        router = routing(engines.__getitem__)
        lockstep = Lockstep(6)
        router = replace(
            router,
            weak=LockstepModel(Watched(router.weak, "weak"), lockstep, "weak"),
            strong=LockstepModel(Watched(router.strong, "strong"), lockstep, "strong"),
            scorer=LockstepScorer(Watched(router.scorer, "scorer"), lockstep),
            policy=Threshold(0.7),
        )

        async def solve(question):
            trace = await router.asolve(question)
            lockstep.solved()
            return trace

        return await asyncio.gather(*map(solve, questions(6)))

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        traces = runner.run(solve_all())
    assert len({len(trace.steps) for trace in traces}) > 1
    assert not under_way


def spans_in_simulated_time(speeds, *asked):
    """Spans one after the other on one engine: what was written, and the seconds that each took."""
    model = SimulatedModel("model", GeneratedDrafts(), str.split, Engine(speeds))

    async def ask_all():
        return [await model.write_span(prefix, Sampling(), 0, stop) for prefix, stop in asked]

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(ask_all())


def stop_at(place):
    """A rule that ends a text before its token at a place."""
    return lambda tokens: place if len(tokens) > place else None


def one_token(tokens):
    return 1


def test_a_stopped_draft_costs_the_tokens_up_to_the_one_that_stopped_it():
    prefix = Prefix(questions(1)[0])
    whole, stopped = spans_in_simulated_time(SPEEDS, (prefix, None), (prefix, stop_at(4)))
    assert len(whole.decoded) == whole.tokens > 5
    assert stopped.decoded == whole.decoded[:4]
    assert stopped.dropped == whole.decoded[4:5]
    assert (stopped.tokens, stopped.ending) == (5, Ending.RULE)
    reading = 0.005 + SPEEDS.forward(1, 45)
    assert stopped.seconds == pytest.approx(reading + 4 * SPEEDS.forward(1))
    assert whole.seconds == pytest.approx(reading + (whole.tokens - 1) * SPEEDS.forward(1))


def test_a_call_of_one_token_costs_what_is_not_cached_and_one_pass():
    """Whole blocks of the question and of the beginning of the step are known from before."""
    prefix = Prefix(questions(1)[0])
    (whole,) = spans_in_simulated_time(SPEEDS, (prefix, None))
    begun = prefix.inside("".join(token.text for token in whole.decoded[:40]))
    later = prefix.inside("".join(token.text for token in whole.decoded[:60]))
    _, again = spans_in_simulated_time(CACHED, (begun, one_token), (later, one_token))
    assert (again.tokens, again.text) == (1, whole.decoded[60].text)
    # Of 45 + 40 tokens 5 blocks of 16 are whole.
    assert (again.prompt_tokens, again.cached_tokens) == (105, 80)
    assert again.seconds == pytest.approx(0.005 + CACHED.forward(1, 25))


@settings(max_examples=40)
@given(st.integers(0, 200), st.data())
def test_a_model_goes_on_from_any_place_as_it_would_have(number, data):
    prefix = Prefix(questions(number + 1)[number])
    (whole,) = spans_in_simulated_time(SPEEDS, (prefix, None))
    place = data.draw(st.integers(1, len(whole.decoded) - 1))
    begun = "".join(token.text for token in whole.decoded[:place])
    (rest,) = spans_in_simulated_time(SPEEDS, (prefix.inside(begun), None))
    assert rest.decoded == whole.decoded[place:]
    assert begun + rest.text == whole.text
    assert rest.ending is whole.ending


def test_doubtful_tokens_are_as_frequent_as_stated():
    drafts = GeneratedDrafts()
    tokens = [
        token
        for question in questions(200)
        for token in asyncio.run(drafts.draft(Prefix(question), 0)).tokens
    ]
    for threshold, share in DOUBTS:
        found = sum(token.probability < threshold for token in tokens) / len(tokens)
        assert found == pytest.approx(share, abs=0.02)


def test_simulated_models_keep_the_promises_of_a_model():
    check_model(SimulatedModel("model", GeneratedDrafts(), str.split))


def test_recordings_of_real_models_are_played_back_in_simulated_time():
    """The same steps at any number at a time, and no model is called again."""
    texts = recorded(4)
    expected = {policy: texts.traces(policy) for policy in ("strong", "token:0.9", "thr:0.9")}
    assert any(step.spans for trace in expected["token:0.9"] for step in trace.steps)
    played = {
        (policy, cache.name): run_spans(texts, policy, traces, concurrent, cache, 0.0)
        for policy, traces in expected.items()
        for concurrent, cache in ((1, NO_CACHE), (1, WITH_CACHE), (16, PREFILLED))
    }
    for policy, traces in expected.items():
        assert played[policy, "cache"].usage["strong"].tokens == sum(
            t.strong_tokens for t in traces
        )
    token, strong = played["token:0.9", "cache"], played["strong", "cache"]
    assert token.latencies.sum() < strong.latencies.sum()
    solved = expected["strong"][0]
    assert len(shipped_tokens(solved.solution)) == solved.strong_tokens - 1  # its end token


def test_what_a_round_trip_and_a_missing_cache_cost():
    texts = generated(2)
    traces = texts.traces("token:0.7")
    near, far, uncached, warm = (
        run_spans(texts, "token:0.7", traces, 1, cache, trip)
        for cache, trip in ((WITH_CACHE, 0.0), (WITH_CACHE, 0.3), (NO_CACHE, 0.0), (PREFILLED, 0.0))
    )
    calls = sum(trace.usage["strong"].requests for trace in traces)
    assert calls == sum(trace.strong_tokens for trace in traces) > 10
    assert far.latencies.sum() - near.latencies.sum() == pytest.approx(0.3 * calls)
    assert uncached.latencies.sum() > near.latencies.sum()
    assert uncached.usage["strong"].cached_tokens == 0
    assert near.usage["strong"].prompt_tokens == warm.usage["strong"].prompt_tokens
    assert warm.usage["strong"].cached_tokens >= near.usage["strong"].cached_tokens
    assert warm.usage["warming"].requests > 0


def test_other_decisions_than_the_expected_ones_are_found():
    texts = generated(2)
    with pytest.raises(AssertionError, match=r"token:0\.9 decides otherwise at 1, cache"):
        run_spans(texts, "token:0.9", texts.traces("token:0.5"), 1, WITH_CACHE, 0.0)


def test_the_stated_distance_of_calls_is_the_one_from_which_routing_pays():
    """Every n-th token is doubtful: above the distance routing is faster, below it slower."""

    class EveryNth(GeneratedDrafts):
        def __init__(self, distance):
            self.distance = distance

        async def draft(self, prefix, seed):
            draft = await super().draft(prefix, seed)
            first = len(prefix.begun.split())
            tokens = tuple(
                replace(token, log_probability=-1.0 if n % self.distance == 0 else 0.0)
                for n, token in enumerate(draft.tokens, first + 1)
            )
            return replace(draft, tokens=tokens)

    def quotient(distance, trip):
        texts = replace(generated(4), weak=EveryNth(distance))
        found = [
            run_spans(texts, policy, texts.traces(routed), 1, WITH_CACHE, trip).latencies.sum()
            for policy, routed in (("strong, one request", "strong"), ("token:0.9", "token:0.9"))
        ]
        return found[0] / found[1]

    for trip in (0.0, 0.05):
        distance = break_even(trip)
        assert quotient(round(0.7 * distance), trip) < 1
        assert quotient(round(1.5 * distance), trip) > 1
