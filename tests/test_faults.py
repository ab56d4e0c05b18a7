"""What networks do: in a fifth of the calls, to 500 problems for each kind of fault."""

import asyncio
import random
import re
import time
from collections import Counter
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from staged_server import SILENCE, Reply, chat, pooling, script, staged, usage

from trim.config import Fallback, Fallbacks, RouterConfig
from trim.engines.chat_template import ChatTemplate
from trim.engines.http import HttpServer
from trim.engines.key import Key, read_key
from trim.engines.retry import CircuitBreaker, RetryPolicy, retry_after, seconds_left, until
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, Refused
from trim.models.continuation import SGLANG, Continuation
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.numerics import derive_seed, uniform
from trim.policies.registry import parse_policies
from trim.router import Router
from trim.scorers.pooling import PoolingScorer
from trim.steps import split_steps
from trim.types import Author, Finish

PROBLEMS = 250
STEPS = 2
SHARE = 0.2
PLAIN = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}", {}, "plain")
FAULTS = {
    "429": Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "0.002"}),
    "500": Reply({"error": "oops"}, 500),
    "503": Reply(b"<html>busy</html>", 503),
    "time-out": SILENCE,
    "connection": Reply({"choices": []}, missing=100),
    "garbled answer": Reply(b'{"choices": [{"te'),
    "error": Reply({"error": {"message": "upstream failed"}}),
}


def tokens_of(role, question, index):
    return 1 + derive_seed(role, question, index) % 50


def honest(request):
    """A writer of solutions of two steps, or a scorer of them, that counts its tokens."""
    body = request.body
    if request.path == "/pooling":
        question = body["input"].partition("\n")[0]
        count = body["input"].count("<extra_0>")
        rows = [[0.0, uniform(question, n)] for n in range(count)]
        return pooling(rows, tokens_of("scorer", question, count))
    question = body["messages"][0]["content"]
    said = body["messages"][1]["content"] if len(body["messages"]) > 1 else ""
    index = len(split_steps(said))
    counts = usage(7, tokens_of(body["model"], question, index))
    last = index + 1 == STEPS
    text = rf"\boxed{{{question}}}" if last else f"step {index}"
    return chat(text, counts=counts, matched_stop=151645 if last else "\n\n")


def parts(url, retry):
    def writer(name):
        return OpenAIModel(
            server(),
            name,
            continuation=Continuation.CONTINUE_FINAL,
            dialect=SGLANG,
            prompt=Prompt(),
        )

    def server():
        breaker = CircuitBreaker(pause=0.01, max_pause=0.05)
        return HttpServer(url, retry=retry, breaker=breaker, concurrency=128)

    return (
        writer("weak"),
        writer("strong"),
        PoolingScorer(server(), "prm", template=PLAIN, system=None),
    )


def check(trace):
    """The tokens of a trace are exactly those of what it says has been asked."""
    asked = {"weak": range(STEPS), "scorer": range(1, STEPS + 1), "strong": []}
    asked["strong"] = [n for n, step in enumerate(trace.steps) if step.author is Author.STRONG]
    assert trace.answer == trace.question
    assert len(trace.steps) == STEPS
    for role, indices in asked.items():
        expected = sum(tokens_of(role, trace.question, index) for index in indices)
        spent = trace.usage[role]
        assert expected == (spent.prompt_tokens if role == "scorer" else spent.tokens)


@pytest.mark.parametrize("kind", [*FAULTS, "NaN"])
async def test_every_problem_ends_once_and_its_tokens_add_up(kind):
    chance = random.Random(kind)

    def answer(request):
        said = honest(request)
        if chance.random() >= SHARE:
            return said
        if kind != "NaN":
            return FAULTS[kind]
        if request.path == "/pooling":
            said["data"][0]["data"][-1][-1] = float("nan")
        else:
            said["usage"] = {}
        return said

    (policy,) = parse_policies("thr:0.5")
    async with staged(answer) as server:
        # Every third failure in a row is the last, so that some problems fail.
        # Long enough for a busy machine to answer all of the others at once.
        seconds = 1.0 if kind == "time-out" else 60
        retry = RetryPolicy(seconds, attempts=3, pause=0.001)
        weak, strong, scorer = parts(server.url, retry)
        router = Router(weak=weak, strong=strong, scorer=scorer, policy=policy)
        ended = await asyncio.gather(*(router.asolve(f"problem {n}") for n in range(PROBLEMS)))
    traces = [trace for trace in ended if trace.finish is Finish.ANSWER]
    failed = [trace for trace in ended if trace.finish is Finish.FAILED]
    assert len(traces) + len(failed) == PROBLEMS
    assert len(traces) > 0.5 * PROBLEMS
    assert len({trace.question for trace in traces}) == len(traces)
    assert sum(len(trace.steps) for trace in traces) == STEPS * len(traces)
    for trace in traces:
        check(trace)
    assert any(trace.strong_tokens for trace in traces)
    assert failed
    for trace in failed:
        assert "no answer in 3 attempts; the last failure: " in trace.failure
        drafted = [tokens_of("weak", trace.question, n) for n in range(STEPS)]
        drafts = (len(trace.steps), len(trace.steps) + 1)  # The last one may have failed later.
        assert trace.usage["weak"].tokens in [sum(drafted[:count]) for count in drafts]
    met = sum((part.server.faults for part in (weak, strong, scorer)), start=weak.server.faults)
    name = "garbled answer" if kind == "NaN" else kind
    assert met[name] > 0.1 * len(server.requests)


@pytest.mark.parametrize("scorer_fallback", [Fallback.KEEP, Fallback.ESCALATE])
async def test_with_fallbacks_nearly_every_problem_has_an_answer(scorer_fallback):
    """Half of the calls fail, so that each part is silent now and then after its retries."""
    chance = random.Random(5)

    def answer(request):
        return honest(request) if chance.random() > 0.5 else FAULTS["500"]

    fallbacks = Fallbacks(weak=Fallback.ESCALATE, strong=Fallback.KEEP, scorer=scorer_fallback)
    async with staged(answer) as server:
        weak, strong, scorer = parts(server.url, RetryPolicy(60, attempts=3, pause=0.001))
        (policy,) = parse_policies("thr:0.5")
        router = Router(
            weak=weak,
            strong=strong,
            scorer=scorer,
            policy=policy,
            config=RouterConfig(fallbacks=fallbacks),
        )
        ended = await asyncio.gather(*(router.asolve(f"problem {n}") for n in range(PROBLEMS)))
    answered = [trace for trace in ended if trace.finish is Finish.ANSWER]
    assert len(answered) > 0.9 * PROBLEMS
    silent = Counter(step.fallback for trace in answered for step in trace.steps)
    assert all(silent[part] > 10 for part in ("weak", "strong", "scorer"))
    assert sum(trace.fallbacks for trace in answered) == silent.total() - silent[None]
    for trace in answered:
        drafted = [n for n, step in enumerate(trace.steps) if step.fallback != "weak"]
        scored = [n for n in drafted if trace.steps[n].fallback != "scorer"]
        # A rewrite for want of a score is of the scorer's making, whoever was silent after that.
        if scorer_fallback is Fallback.ESCALATE:
            scored = [n for n in drafted if trace.steps[n].score is not None]
        rewritten = [n for n, step in enumerate(trace.steps) if step.author is Author.STRONG]
        for role, indices in (("weak", drafted), ("strong", rewritten)):
            spent = sum(tokens_of(role, trace.question, index) for index in indices)
            assert trace.usage[role].tokens == spent
        read = sum(tokens_of("scorer", trace.question, index + 1) for index in scored)
        assert trace.usage["scorer"].prompt_tokens == read


async def test_connections_are_used_again():
    async with staged(honest) as server:
        (policy,) = parse_policies("weak")
        weak, strong, _ = parts(server.url, RetryPolicy())
        for n in range(20):
            await Router(weak=weak, strong=strong, policy=policy).asolve(f"problem {n}")
        assert (len(server.requests), server.connections) == (40, 1)


def test_a_server_serves_one_event_loop_after_the_other():
    """`Router.solve` has a loop for each problem."""

    async def one(server, url):
        server.url = url
        return await server.post("/x", {}, lambda raw: raw["n"])

    async def staged_once(server):
        async with staged(script({"n": 5})) as other:
            return await one(server, other.url)

    server = HttpServer("http://127.0.0.1:1")
    assert [asyncio.run(staged_once(server)) for _ in range(3)] == [5, 5, 5]
    assert not server._pools


async def test_no_more_requests_are_under_way_than_allowed():
    under_way = most = 0

    async def release():
        nonlocal under_way
        await asyncio.sleep(0.01)
        under_way -= 1

    def answer(request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        tasks.append(asyncio.ensure_future(release()))
        return {"n": 1}

    tasks = []
    async with staged(answer) as served:
        server = HttpServer(served.url, concurrency=3)

        async def ask():
            await server.post("/x", {}, lambda raw: raw)

        await asyncio.gather(*(ask() for _ in range(40)))
        await asyncio.gather(*tasks)
        assert served.connections <= 3


# How long, how often


async def test_a_wish_to_be_left_alone_holds_for_all_requests():
    replies = script(Reply({}, 429, {"Retry-After": "0.3"}), {"n": 1})
    async with staged(replies) as served:
        server = HttpServer(served.url, retry=RetryPolicy(pause=0))
        started = time.monotonic()
        first = asyncio.ensure_future(server.post("/x", {}, lambda raw: raw["n"]))
        while not server.faults:
            await asyncio.sleep(0.001)
        await server.post("/x", {}, lambda raw: raw["n"])
        assert time.monotonic() - started >= 0.3
        assert await first == 1


async def test_a_wish_beyond_all_patience_ends_the_request():
    async with staged(script(Reply({}, 429, {"Retry-After": "3600"}))) as served:
        server = HttpServer(served.url)
        with pytest.raises(ModelUnavailable, match=r"retry after 3\d\d\d s; the last.*429"):
            await server.post("/x", {}, lambda raw: raw)
        assert server.requests == 1


@pytest.mark.parametrize("attempts", [1, 8])
async def test_a_problem_ends_at_its_deadline_with_the_reason(attempts):
    async with staged(script(SILENCE)) as served:
        (policy,) = parse_policies("weak")
        weak, strong, _ = parts(served.url, RetryPolicy(60, attempts))
        router = Router(
            weak=weak, strong=strong, policy=policy, config=RouterConfig(max_seconds=0.1)
        )
        trace = await router.asolve("problem")
        assert trace.finish is Finish.FAILED
        assert re.search(r"time is up after 1 attempt; .*time-out", trace.failure)
        assert not weak.server.breaker.is_open
        # The call that was cut is counted, with an estimate of its tokens.
        assert trace.usage["weak"].requests == 1
        assert trace.usage["weak"].tokens > 0


async def ask_for(seconds, server):
    """The seconds that a request with this limit took, which nobody answers."""
    started = time.monotonic()
    with until(started + seconds), pytest.raises(ModelUnavailable, match="time is up"):
        await server.post("/x", {}, lambda raw: raw)
    return time.monotonic() - started


async def test_a_deadline_counts_in_the_queue():
    """Another problem has the only connection."""
    async with staged(script(SILENCE)) as served:
        server = HttpServer(served.url, concurrency=1)
        first = asyncio.create_task(ask_for(3, server))
        while not served.requests:
            await asyncio.sleep(0.01)
        assert await ask_for(0.2, server) < 2
        await first
        assert len(served.requests) == 1


async def test_a_forwarded_request_waits_for_a_connection_no_longer_than_for_an_answer():
    """Another problem has the only connection."""
    async with staged(script(SILENCE)) as served:
        server = HttpServer(served.url, concurrency=1)
        first = asyncio.create_task(server.post("/x", {}, lambda raw: raw))
        while not served.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(ModelUnavailable, match=r"no answer.*time-out: in the queue"):
            async with server.stream("/x", b"{}", 0.2):
                pass
        first.cancel()
        assert len(served.requests) == 1
        assert not server.breaker.is_open


async def test_a_deadline_does_not_close_a_circuit_breaker():
    async with staged(script(SILENCE)) as served:
        server = HttpServer(served.url)
        for _ in range(server.breaker.failures):
            server.breaker.failed(time.monotonic() - 5)
        await ask_for(0.2, server)
        assert len(served.requests) == 1
        assert server.breaker.is_open


def test_a_deadline_is_of_one_problem_and_the_earliest_counts():
    assert seconds_left() == float("inf")
    with until(time.monotonic() + 10):
        with until(time.monotonic() + 100):
            assert seconds_left() <= 10
        with until(time.monotonic() - 1):
            assert seconds_left() <= -1
        assert 0 < seconds_left() <= 10
    assert seconds_left() == float("inf")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_deadline_must_lie_ahead(seconds):
    (policy,) = parse_policies("weak")
    with pytest.raises(InvalidInput, match="max_seconds"):
        Router(weak=None, strong=None, policy=policy, config=RouterConfig(max_seconds=seconds))


async def test_a_dead_server_is_asked_no_more():
    async with staged(script(Reply({}, 500))) as served:
        breaker = CircuitBreaker(failures=4, pause=10, outage=0)
        retry = RetryPolicy(attempts=100, pause=0)
        server = HttpServer(served.url, retry=retry, breaker=breaker)
        with pytest.raises(ModelUnavailable, match="requests are paused; the last failure: 500"):
            await server.post("/x", {}, lambda raw: raw)
        for _ in range(50):
            with pytest.raises(ModelUnavailable, match="not responding"):
                await server.post("/x", {}, lambda raw: raw)
        assert server.requests == 4


async def test_a_server_that_comes_back_is_asked_again():
    dead = [Reply({}, 500)] * 6
    async with staged(script(*dead, {"n": 1})) as served:
        breaker = CircuitBreaker(failures=4, pause=0.01)
        server = HttpServer(
            served.url, retry=RetryPolicy(attempts=100, pause=0), breaker=breaker, concurrency=1
        )
        answers = await asyncio.gather(
            *(server.post("/x", {}, lambda raw: raw["n"]) for _ in range(20))
        )
        assert answers == [1] * 20
        assert server.requests == 26
        assert not breaker.is_open


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6))
def test_a_breaker_is_open_after_failures_in_a_row(outcomes, failures):
    breaker, row = CircuitBreaker(failures), 0
    for now, good in enumerate(outcomes):
        breaker.succeeded() if good else breaker.failed(now)
        row = 0 if good else row + 1
        assert breaker.is_open == (row >= failures)


@given(st.integers(0, 12), st.floats(0, 1000), st.integers(0, 100))
def test_an_open_breaker_lets_one_trial_through_at_a_time(trials, now, under_way):
    breaker = CircuitBreaker(2, pause=1, max_pause=8)
    for _ in range(2 + under_way):  # failures of requests that were sent before count once
        breaker.failed(now)
    for trial in range(trials + 1):
        pause = min(2**trial, 8)
        assert breaker.wait(now) == pytest.approx(pause)
        now += pause + 1e-6
        assert breaker.wait(now) == 0
        assert breaker.wait(now) > 0
        breaker.failed(now)
    breaker.succeeded()
    assert breaker.wait(now) == 0


@given(st.integers(0, 2000))
def test_pauses_grow_and_stay_within_bounds(attempt):
    retry = RetryPolicy(pause=0.25, max_pause=20)
    pause = retry.before(attempt)
    assert pause <= 20
    assert pause >= (0 if attempt == 0 else min(0.125 * 2 ** min(attempt - 1, 60), 10))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("3", 3, 3),
        ("0.5", 0.5, 0.5),
        ("", 0, 0),
        ("soon", 0, 0),
        (formatdate(time.time() + 5000, usegmt=True), 4000, 5001),
        (formatdate(time.time() - 100, usegmt=True), 0, 0),
    ],
    ids=["seconds", "half a second", "empty", "a word", "a date to come", "a date gone by"],
)
def test_wishes_are_numbers_or_dates(value, low, high):
    assert low <= retry_after({"Retry-After": value}) <= high


# Refusals


REFUSALS = [
    (400, {"error": {"message": "bad field"}}, Refused, "400 bad field"),
    (401, {"error": {"message": "no entry"}}, Refused, "key was not accepted .*TRIM_TEST_KEY"),
    (404, {"detail": "Not Found"}, Refused, "404 Not Found"),
    (422, b"no", Refused, "422 no"),
    (301, b"", Refused, "redirects"),
    (
        400,
        {"error": {"type": "exceed_context_size_error", "message": "exceeds the context size"}},
        ContextExceeded,
        "exceeds",
    ),
    (
        400,
        {"type": "error", "error": {"message": "prompt is too long: 9 tokens > 8 maximum"}},
        ContextExceeded,
        "too long",
    ),
]


@pytest.mark.parametrize(("status", "body", "error", "message"), REFUSALS)
async def test_what_would_be_refused_again_is_not_asked_again(status, body, error, message):
    key = Key("sk-secret", "the environment variable TRIM_TEST_KEY")
    async with staged(script(Reply(body, status))) as served:
        server = HttpServer(served.url, key)
        with pytest.raises(error, match=message):
            await server.post("/x", {}, lambda raw: raw)
        assert server.requests == 1


async def test_a_key_is_sent_and_never_shown(caplog):
    secret = "sk-very-secret-123"
    shown = []
    key = Key(secret, "the environment variable TRIM_TEST_KEY")
    replies = script(
        Reply({"error": {"message": f"Incorrect API key provided: {secret}"}}, 401),
        Reply({"error": f"{secret} is out of credit"}, 500),
        Reply({"error": f"{secret}"}, 200),
        Reply({"n": secret}),
    )
    async with staged(replies) as served:
        server = HttpServer(served.url, key, retry=RetryPolicy(attempts=1))
        for _ in range(4):
            with pytest.raises(ModelUnavailable) as caught:
                await server.post("/x", {}, lambda raw: int(raw["n"]))
            shown.append(str(caught.value))
        assert served.requests[0].headers["Authorization"] == f"Bearer {secret}"
    assert secret not in "".join([*shown, repr(server), repr(key), repr(vars(key)["source"])])
    assert secret not in caplog.text


def test_keys_come_from_the_environment_or_a_file(monkeypatch, tmp_path):
    file = tmp_path / "key"
    file.write_text(" sk-2 \n")
    monkeypatch.setenv("TRIM_TEST_KEY", "sk-1")
    assert read_key("TRIM_TEST_KEY", file).secret == "sk-1"
    assert read_key(None, file).secret == "sk-2"
    assert read_key() is None


def test_a_missing_key_is_named_by_its_source(monkeypatch, tmp_path):
    monkeypatch.delenv("TRIM_TEST_KEY", raising=False)
    with pytest.raises(InvalidInput, match="TRIM_TEST_KEY holds no key"):
        read_key("TRIM_TEST_KEY")
    with pytest.raises(InvalidInput, match="no readable key file"):
        read_key(None, tmp_path / "none")
    (tmp_path / "two").write_text("sk-1\nsk-2\n")
    with pytest.raises(InvalidInput, match="holds no key") as caught:
        read_key(None, tmp_path / "two")
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:80", "ftp://a/b", "http://me:sk-1@a/v1", "http://a/v1?key=sk-1"]
)
def test_addresses_are_checked(url):
    with pytest.raises(InvalidInput) as caught:
        HttpServer(url)
    assert "sk-1" not in str(caught.value)
