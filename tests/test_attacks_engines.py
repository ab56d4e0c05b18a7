"""Hostile engines and upstream APIs, damaged weights: each ends in one line, within bounds."""

import asyncio
import gzip
import hashlib
import html
import inspect
import json
import random
import re
import time
import tracemalloc
import zlib
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import aiohttp
import numpy as np
import pytest
from fuzzing import other_seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save
from sqlalchemy import make_url
from staged_server import Reply, chat, completion, events, pooling, script, staged, usage

from trim.engines import load_trial
from trim.engines.body import ANSWER_LIMIT, PIECE, read_pieces
from trim.engines.chat_template import ChatTemplate
from trim.engines.gguf import read_chat, read_vocabulary
from trim.engines.http import HttpServer, checked_url
from trim.engines.key import Key
from trim.engines.llama_cpp import LlamaCppEngine
from trim.engines.load_trial import cache_file, require_loadable
from trim.engines.retry import (
    LONGEST_RETRY_AFTER,
    CircuitBreaker,
    RequestedPause,
    RetryPolicy,
    retry_after,
)
from trim.errors import InvalidInput, ModelUnavailable, Refused
from trim.files import sha256_of
from trim.models.anthropic import AnthropicModel, anthropic_server
from trim.models.continuation import DIALECTS, Continuation
from trim.models.discovery import discover
from trim.models.model import Prefix, Sampling, Token
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.models.response import TEXT_LIMIT, spelled
from trim.policies.agg.policy import PAPER, read_agg
from trim.policies.agg.policy import SHAPES as AGG_SHAPES
from trim.policies.calibrated import CalibratedRouter, read_calibrated_router
from trim.policies.pomdp.model import read_model
from trim.policies.ppo.weights import LearnedRouter, PriceRange, write_router
from trim.policies.rivals.automix import AutoMix, VerifierTable, automix_record, read_automix
from trim.policies.rivals.cascade import ScoreSummary
from trim.policies.rivals.classifier import TermModel, classifier_record, read_classifier
from trim.policies.rivals.embedding import (
    EmbeddingModel,
    embedding_record,
    read_embedding_classifier,
)
from trim.policies.seq.policy import FEATURES, read_seq
from trim.policies.seq.policy import SHAPES as SEQ_SHAPES
from trim.scorers.grade import HttpGradeScorer
from trim.scorers.joint import read_weights
from trim.scorers.label import HttpLabelScorer
from trim.scorers.pooling import PoolingScorer
from trim.server.catalog import read_curve
from trim.server.errors import APIError
from trim.server.proxy import Passthrough
from trim.server.readiness import Readiness
from trim.server.service import Service
from trim.shipped import BELIEF, FOLDER
from trim.types import Author

SECRET = "sk-Live-a1/b2+c3_d4"
KEY = Key(SECRET, "a test")
ONCE = RetryPolicy(seconds=5, attempts=1)
DEEP = b"[" * 200_000
GREEDY = Sampling(0.0, 1.0, 0, 16)
PLAIN = ChatTemplate("{% for m in messages %}{{ m.content }}\n{% endfor %}", {}, "plain")


def model(url, dialect="vllm", mode=Continuation.COMPLETIONS, key=None, patient=False, **given):
    given = {"prompt": Prompt(), **given}
    breaker = CircuitBreaker(10**6) if patient else None
    server = HttpServer(url, key, retry=ONCE, breaker=breaker)
    return OpenAIModel(server, "m", continuation=mode, dialect=dialect, **given)


async def longest_silence(work):
    """The longest time in which the event loop did nothing else than `work`."""
    worst, last, done = 0.0, time.perf_counter(), False

    async def watch():
        nonlocal worst, last
        while not done:
            await asyncio.sleep(0.005)
            worst, last = max(worst, time.perf_counter() - last), time.perf_counter()

    watching = asyncio.ensure_future(watch())
    try:
        await work
    finally:
        done = True
        await watching
    return worst


# Waiting


@pytest.mark.parametrize(
    "value",
    ["²", "٣", "１２", "1²", "-5", "+5", "1e9", "inf", "nan", "0x10", "1_0", "", " ", "5,5", "\x00",
     "-0001", "Thu, 99 Foo 2030", "Mon, 01 Jan 0001 00:00:00 -9999", "1.2.3", "٣" * 50],
)  # fmt: skip
def test_a_retry_after_in_no_form_counts_as_none(value):
    assert retry_after({"Retry-After": value}) == 0


@pytest.mark.parametrize(
    "value", ["1000000000", "9" * 20, "86400", "Mon, 01 Jan 2200 00:00:00 GMT"]
)
def test_a_retry_after_is_a_day_at_most(value):
    assert retry_after({"Retry-After": value}) == LONGEST_RETRY_AFTER


@given(st.text(max_size=120))
def test_any_retry_after_is_a_number_within_a_day(value):
    assert 0 <= retry_after({"Retry-After": value}) <= LONGEST_RETRY_AFTER


@pytest.mark.parametrize("value", ["1000000000", "86400"])
async def test_an_engine_that_asked_for_a_day_is_tried_again_and_not_ready_meanwhile(value):
    """A `Retry-After` of a day, or of 31 years, silenced an engine for as long; readiness said
    `ready`."""
    replies = script(Reply({"error": "quota"}, 429, {"Retry-After": value}), {"n": 1})
    async with staged(replies) as engine:
        server = HttpServer(engine.url, retry=RetryPolicy(pause=0, max_retry_after=0.2))
        service = SimpleNamespace(servers=[server])
        asked = server.post("/x", {}, lambda raw: raw["n"])
        with pytest.raises(ModelUnavailable, match="retry after 86400 s; the last failure: 429"):
            await asked
        assert Service.unreachable(service) == [server.name]
        with pytest.raises(ModelUnavailable, match="asked clients to retry after 86400 s"):
            await server.post("/x", {}, lambda raw: raw["n"])
        assert len(engine.requests) == 1
        await asyncio.sleep(0.21)
        assert Service.unreachable(service) == []
        assert await server.post("/x", {}, lambda raw: raw["n"]) == 1
        assert Service.unreachable(service) == []
        assert await server.post("/x", {}, lambda raw: raw["n"]) == 1


async def test_a_server_whose_engine_came_back_is_ready_without_a_request():
    """A balancer sends nothing to a process that is not ready, so no request would find out."""

    async def reachable():
        return True

    down = {"status": 500}
    async with staged(lambda request: Reply({}, down["status"])) as engine:
        breaker = CircuitBreaker(failures=2, pause=0.1, max_pause=0.1)
        server = HttpServer(engine.url, retry=RetryPolicy(attempts=2, pause=0), breaker=breaker)
        memory = SimpleNamespace(engine=SimpleNamespace(url=make_url("sqlite://")))
        memory.reachable = reachable
        readiness = Readiness(SimpleNamespace(servers=[server], accounts=memory))
        with pytest.raises(ModelUnavailable):
            await server.post("/x", {}, dict)
        assert await readiness.silent() == [server.name]  # No trial is due yet.
        await asyncio.sleep(1.1)
        assert await readiness.silent() == [server.name]  # One is, but the server still fails.
        down["status"] = 200
        requests = len(engine.requests)
        assert await readiness.silent() == [server.name]  # Asked again within a second.
        assert len(engine.requests) == requests
        await asyncio.sleep(1.1)
        assert await readiness.silent() == []
        assert await server.post("/x", {}, dict) == {} and server.available


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.floats(0, 1e9)),
            st.tuples(st.just("later"), st.floats(0, 400)),
            st.tuples(st.just("request"), st.just(0.0)),
            st.tuples(st.just("answer"), st.just(0.0)),
        ),
        max_size=40,
    )
)
def test_no_requested_pause_outlasts_its_limit(moves):
    """Whatever a server asks for, a request is sent `limit` seconds later at the latest; of those
    that come during a long pause, one is let through for each `limit`."""
    pause, now = RequestedPause(limit=300), 1000.0
    for move, seconds in moves:
        if move == "ask":
            pause.ask(seconds, now)
        elif move == "later":
            now += seconds
        elif move == "answer":
            pause.answered()
        elif not pause.fails_at(now):
            assert pause.wait(now) <= 300
            if not pause.wait(now):
                pause.sent(now)
        assert not pause.fails_at(now + 300)
        if pause.fails_at(now):
            assert pause.wait(now) == 0


# Sizes


@cache
def bomb():
    """128 MiB of blanks, which are 0.1 MB of gzip."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    blanks = b" " * (1 << 20)
    return b"".join([*(packer.compress(blanks) for _ in range(128)), packer.flush()])


def packed(status=200):
    return Reply(bomb(), status, {"Content-Encoding": "gzip"})


async def failing(server, ask):
    with pytest.raises(ModelUnavailable) as caught:
        await ask
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_compressed_answers_are_bounded_and_leave_the_event_loop_free(status):
    """1.5 GB of gzip kept the event loop busy for 7.6 s."""
    async with staged(script(packed(status))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        tracemalloc.start()
        silence = await longest_silence(
            failing(server, server.post("/x", {}, lambda raw: raw["n"]))
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert silence < 0.5
        assert peak < 3 * ANSWER_LIMIT
        shown = await failing(server, server.post("/x", {}, lambda raw: raw["n"]))
        assert ("more than 32 MiB" if status == 200 else f"{status}") in shown


async def test_compressed_answers_are_read():
    packed = Reply(
        gzip.compress(json.dumps({"n": 5}).encode()), headers={"Content-Encoding": "gzip"}
    )
    async with staged(script(packed)) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        assert await server.post("/x", {}, lambda raw: raw["n"]) == 5
        assert (await server.get("/x")) == {"n": 5}
        assert engine.requests[0].headers["Accept-Encoding"] == "gzip"


@settings(max_examples=30)
@given(st.integers(0, 3), st.integers(-300, 300), st.integers(50, 5000), st.booleans())
async def test_any_compressed_body_is_read_whole(pieces, more, chunk, repeats):
    size = max(pieces * PIECE + more, 0)
    content = b"a" * size if repeats else random.Random(size).randbytes(size)
    packed = gzip.compress(content)

    async def iter_any():
        for at in range(0, len(packed), chunk):
            yield packed[at : at + chunk]

    answer = SimpleNamespace(
        headers={"Content-Encoding": "gzip"}, content=SimpleNamespace(iter_any=iter_any)
    )
    found = [piece async for piece in read_pieces(answer)]
    assert b"".join(found) == content
    assert all(len(piece) <= PIECE for piece in found)


async def test_a_long_error_keeps_its_status_and_beginning():
    """FastAPI quotes the request in an error."""
    long = {"detail": [{"msg": "no such field", "input": "a " * 600_000}]}
    async with staged(script(Reply(long, 422))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        assert "422" in (shown := await failing(server, server.post("/x", {}, lambda raw: raw)))
        assert "no such field" in shown


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"\x1f\x8b nothing", "gzip", "damaged gzip"),
        (gzip.compress(b'{"n": 1}', mtime=0)[:-9], "gzip", "cut short"),
        (b'{"n": 1}', "br", "compressed as 'br'"),
        (b'{"n": 1}', "x" * 4000, "compressed as 'xxx"),
    ],
)
async def test_damaged_compression_is_a_garbled_answer(body, encoding, reason):
    async with staged(script(Reply(body, headers={"Content-Encoding": encoding}))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        assert reason in await failing(server, server.post("/x", {}, lambda raw: raw))
        assert reason in await failing(server, server.get("/x"))


def endless(piece, **more):
    """A body that goes on for as long as it is read."""
    return Reply(b"", missing=1 << 40, later=(piece,) * 4000, **more)


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_endless_answers_end_at_the_limit(status):
    async with staged(script(endless(b"9" * (1 << 20), status=status))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        reason = "garbled answer: more than 32 MiB" if status == 200 else f"{status}"
        assert reason in await failing(server, server.post("/x", {}, lambda raw: raw))


@pytest.mark.parametrize("path", ["post", "get", "events", "tokens"])
@pytest.mark.parametrize(
    "body", [DEEP, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe", b"", b"NaN", b'"\\ud800"'],
    ids=["lists", "objects", "digits", "bytes", "nothing", "NaN", "surrogate"],
)  # fmt: skip
async def test_json_that_python_cannot_read_is_a_garbled_answer(path, body):
    stream = Reply(b"data: " + body + b"\n\n", headers={"Content-Type": "text/event-stream"})
    async with staged(script(stream if path == "events" else Reply(body))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        if path == "post":
            await failing(server, server.post("/x", {}, lambda raw: raw["n"]))
        elif path == "events":
            await failing(server, server.read_events("/x", {}, lambda raw: raw["n"]))
        elif path == "get":
            await discover(server)
        else:
            await failing(server, model(engine.url).write_step(Prefix("q"), GREEDY, 0))


@pytest.mark.parametrize("piece", [b"9" * 65_536, b": idle\n" * 9000, b"data: {}\n\n" * 6000])
async def test_endless_streams_end_at_a_limit_or_at_the_deadline(piece):
    """Lines without an end, comments for ever, and events for ever."""
    stream = endless(piece, headers={"Content-Type": "text/event-stream"})
    async with staged(script(stream)) as engine:
        server = HttpServer(engine.url, retry=RetryPolicy(seconds=0.5, attempts=1))
        started = time.perf_counter()
        with pytest.raises(ModelUnavailable, match=r"too long|time-out"):
            await server.read_events("/x", {}, lambda raw: False)
        assert time.perf_counter() - started < 20


async def test_an_endless_answer_in_place_of_a_stream_ends_at_the_limit():
    async with staged(script(endless(b"9" * (1 << 20)))) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        reason = await failing(server, server.read_events("/x", {}, lambda raw: False))
        assert f"garbled answer: more than {ANSWER_LIMIT >> 20} MiB" in reason


def piece(text="", finish=None, **more):
    choice = {"index": 0, "text": text, "finish_reason": finish, **more}
    return {"choices": [choice], "usage": usage(5, 1)}


LOGPROBS = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}]}


async def test_a_stream_that_goes_on_after_its_end_is_closed():
    """Endless "finish" events held a request, and what it had sent, past its deadline."""
    ends = [piece("a", "stop", logprobs=LOGPROBS), *[piece("", "stop")] * 5000]
    async with staged(script(events(*ends, done=False))) as engine:
        span = await asyncio.wait_for(
            model(engine.url).write_span(Prefix("q"), GREEDY, 0), timeout=2
        )
        assert span.text == "a"


async def test_texts_and_lists_of_tokens_are_bounded():
    long = "a " * TEXT_LIMIT
    many = {"tokens": ["a"] * 200_000, "token_logprobs": [-1] * 200_000}
    for reply in (completion(long), completion("a", logprobs=many)):
        async with staged(script(reply)) as engine:
            silence = await longest_silence(
                failing(None, model(engine.url).write_step(Prefix("q"), GREEDY, 0))
            )
            assert silence < 1


def test_tokens_that_do_not_spell_the_text_take_no_long_time():
    started = time.process_time()
    spelled([Token("b", -1.0)] * 100_000, "a" * 1_000_000)
    assert time.process_time() - started < 2


async def test_a_reason_to_stop_is_quoted_in_one_short_line():
    for answer in (completion("a", "x\n\x1b[2J" * 100_000), completion("a", SECRET)):
        async with staged(script(answer)) as engine:
            with pytest.raises(Refused, match="the model was stopped") as caught:
                await model(engine.url, key=KEY).write_step(Prefix("q"), GREEDY, 0)
            assert len(str(caught.value)) < 200
            assert str(caught.value).isprintable()
            assert SECRET not in str(caught.value)


async def test_endless_headers_end():
    """aiohttp bounds each header, and from version 3.14 on their number."""
    many = {f"X-{number}": "a" * 4000 for number in range(2000)}
    counts = "max_headers" in inspect.signature(aiohttp.ClientSession).parameters
    for headers in ({"X": "a" * 9_000_000}, *[many] * counts):
        async with staged(script(Reply({"n": 1}, headers=headers))) as engine:
            server = HttpServer(engine.url, retry=ONCE)
            await failing(server, server.post("/x", {}, lambda raw: raw))


# Numbers and types

ODD = [
    None,
    True,
    "a",
    "-1",
    [],
    {},
    [1],
    float("nan"),
    float("inf"),
    10**400,
    -(10**400),
    "\ud800",
]
"""Values in the place of another; JSON written by Python holds NaN and Infinity."""
ENTRY = {
    "token": "a",
    "logprob": -0.5,
    "bytes": [97],
    "id": 3,
    "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -2.0}],
}


def places(value, path=()):
    """The paths of all values in a record."""
    yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def replaced(record, path, value, missing=False):
    """The record with another value at `path`, or none."""
    if not path:
        return value
    record = json.loads(json.dumps(record))
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    if missing:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return record


def damaged(record, chance, count):
    """`count` variants of a record, each with one odd value or without one; counts of tokens are
    left, which are checked where they are summed."""
    found = [path for path in places(record) if path and path[0] not in ("usage", "timings")]
    for _ in range(count):
        path = chance.choice(found)
        yield replaced(record, path, chance.choice([*ODD, 10**10]), chance.random() < 0.15)


STEP = {"tokens": ["a", "\n\n"], "token_logprobs": [-0.5, -0.1],
        "top_logprobs": [{"a": -0.5, "b": -1.0}, {"\n\n": -0.1}]}  # fmt: skip
WHOLE = {
    "completions": completion(
        "a",
        counts=usage(5, 2),
        logprobs=STEP,
        stop_reason="\n\n",
        prompt_token_ids=[1, 2],
        token_ids=[3, 4],
    ),
    "chat": chat("a", counts=usage(5, 2), logprobs={"content": [ENTRY]}, matched_stop="\n\n"),
    "llama_cpp": {
        **completion("a", counts=usage(5, 2), logprobs={"content": [ENTRY]}),
        "__verbose": {"stop_type": "word", "tokens": [3, 4]},
        "content": "a",
        "tokens": [3, 4],
    },
}
WRITERS = {
    "completions": ("vllm", Continuation.COMPLETIONS),
    "chat": ("sglang", Continuation.CONTINUE_FINAL),
    "llama_cpp": ("llama_cpp", Continuation.COMPLETIONS),
}


@pytest.mark.parametrize("kind", WHOLE)
async def test_an_odd_value_anywhere_in_an_answer_is_a_garbled_answer(kind):
    await odd_answers(kind, random.Random(kind), 250)


async def odd_answers(kind, chance, count):
    dialect, mode = WRITERS[kind]

    def make(url):
        return model(url, dialect, mode, log_probabilities=True, entropy=True)

    async for step in steps_of(damaged(WHOLE[kind], chance, count), make):
        assert -1e6 <= (step.log_probability or 0) <= 0
        assert 0 <= (step.first_entropy or 0) < 100


async def steps_of(records, make):
    """The steps of a model that is given each record as its answer; the others are garbled answers,
    in a short message."""
    reply = {}
    async with staged(lambda request: reply["now"]) as engine:
        for record in records:
            reply["now"] = record
            try:
                step = await make(engine.url).write_step(Prefix("q"), GREEDY, 0)
            except ModelUnavailable as error:
                assert len(str(error)) < 600
                continue
            step.text.encode()
            yield step


CHUNKS = {
    "completions": [{**piece("a\n\n", "stop", token_ids=[3], prompt_token_ids=[1],
                             logprobs={"tokens": ["a\n\n"], "token_logprobs": [-0.5],
                                       "top_logprobs": [{"a": -0.5}]})}],
    "chat": [{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop",
                           "logprobs": {"content": [ENTRY]}}], "usage": usage(5, 1)}],
    "llama_cpp": [{"choices": [{"index": 0, "text": "a", "finish_reason": "stop",
                                "logprobs": {"content": [ENTRY]}}],
                   "timings": {"cache_n": 1, "prompt_n": 4, "predicted_n": 1}}],
}  # fmt: skip


@pytest.mark.parametrize("kind", CHUNKS)
async def test_an_odd_value_anywhere_in_a_stream_is_a_garbled_answer(kind):
    await odd_streams(kind, random.Random(kind), 250)


@pytest.mark.fuzz
async def test_odd_values_of_other_seeds():
    for seed in other_seeds(0.25):
        for kind in WHOLE:
            await odd_answers(kind, random.Random(seed), 50)
        for kind in CHUNKS:
            await odd_streams(kind, random.Random(seed), 50)


async def odd_streams(kind, chance, count):
    reply = {}
    async with staged(lambda request: reply["now"]) as engine:
        for record in damaged(CHUNKS[kind][0], chance, count):
            reply["now"] = events(record)
            dialect, mode = WRITERS[kind]
            writer = model(engine.url, dialect, mode, entropy=True)
            try:
                span = await writer.write_span(Prefix("q", begun="b"), GREEDY, 0)
            except ModelUnavailable as error:
                assert len(str(error)) < 600
                continue
            span.text.encode()
            assert all(-float("inf") <= token.log_probability <= 0 for token in span.decoded)
            assert all(isinstance(token.text, str) for token in span.decoded)


async def test_a_number_of_bytes_takes_no_memory():
    """`bytes(10 ** 10)` would be as many zeros."""
    record = replaced(
        CHUNKS["llama_cpp"][0], ("choices", 0, "logprobs", "content", 0, "bytes"), 10**10
    )
    async with staged(script(events(record))) as engine:
        writer = model(engine.url, "llama_cpp")
        await failing(None, writer.write_span(Prefix("q", begun="b"), GREEDY, 0))


MESSAGE = {
    "content": [{"type": "text", "text": "<step>a</step>"}],
    "stop_reason": "stop_sequence",
    "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 1},
}


async def test_an_odd_value_in_a_message_of_anthropic_is_a_garbled_answer():
    def make(url):
        server = anthropic_server(KEY, url, retry=ONCE, breaker=CircuitBreaker(10**6))
        return AnthropicModel("m", server, continuation="prefill")

    async for step in steps_of(damaged(MESSAGE, random.Random(7), 60), make):
        assert isinstance(step.text, str)


async def test_odd_scores_are_garbled_answers():
    chance = random.Random(3)
    reply = {}
    rows = pooling([[0.25, 0.75]])
    tops = [{"+": -0.5, "-": -1.0}]
    label = completion(
        "a", logprobs={"tokens": ["+"], "token_logprobs": [-0.5], "top_logprobs": tops}
    )
    grade = chat("7", logprobs={"content": [{**ENTRY, "token": "7"}]})
    trace, step = Prefix("q", ("a\n\n",)), [SimpleNamespace(text="a")]
    async with staged(lambda request: reply["now"]) as engine:
        server = HttpServer(engine.url, retry=ONCE, breaker=CircuitBreaker(10**6))
        scorers = [
            (rows, PoolingScorer(server, "m", template=PLAIN, system=None)),
            (rows, PoolingScorer(server, "m", template=PLAIN, system=None, logits=True)),
            (label, HttpLabelScorer(model(engine.url, patient=True))),
            (
                grade,
                HttpGradeScorer(
                    model(engine.url, "sglang", Continuation.CONTINUE_FINAL, patient=True)
                ),
            ),
        ]
        for record, scorer in scorers:
            for odd in damaged(record, chance, 80):
                reply["now"] = odd
                try:
                    (value,) = (await scorer.score(trace, step)).values
                except (ModelUnavailable, InvalidInput) as error:
                    assert len(str(error)) < 600
                    continue
                assert 0 <= value <= 1


async def test_odd_descriptions_of_a_server_are_ignored():
    chance = random.Random(11)
    listed = {"data": [{"id": "m", "owned_by": "llamacpp"}, {"id": "n", "owned_by": "vllm"}]}
    properties = {"default_generation_settings": {}, "total_slots": 2, "chat_template": "{{ a }}",
                  "bos_token": "<s>"}  # fmt: skip
    names = {}
    async with staged(lambda request: names[request.path.rpartition("/")[2]]) as engine:
        server = HttpServer(engine.url, retry=ONCE)
        for first in (*damaged(listed, chance, 60), {"data": [{"id": "m" * 100_000}]}):
            names |= {name: {} for name in ("info", "version", "get_model_info")}
            names |= {"models": first, "props": next(damaged(properties, chance, 1))}
            found = await discover(server)
            assert found.kind in DIALECTS
            assert all(isinstance(name, str) and len(name) <= 256 for name in found.models)


# Keys


def spellings(secret):
    """The ways in which a server may quote a key."""
    escaped = "".join(f"\\u{ord(each):04x}" for each in secret)
    return [
        secret,
        secret.upper(),
        secret.replace("-", "\\u002d"),
        secret.replace("-", "\\\\u002D").replace("/", "\\/"),
        escaped,
        escaped.replace("\\", "\\\\"),
        "".join(f"%{ord(each):02X}" for each in secret),
        secret.replace("-", "%2d").replace("/", "%2F").replace("+", "%252b"),
        secret.replace("-", "&#45;").replace("/", "&#x2F;"),
        secret[:6] + "\n  " + secret[6:],
        "x" * 290 + secret,
    ]


def holds(text, secret=SECRET):
    """Whether a text shows six characters of a key in a row, in any spelling."""
    plain = text
    for _ in range(3):
        plain = re.sub(r"\\+u(00\w\w)", lambda found: chr(int(found[1], 16)), plain)
        plain = html.unescape(unquote(plain))
    plain = re.sub(r"[\s\\]", "", plain.lower())
    return any(secret.lower()[at : at + 6] in plain for at in range(len(secret) - 5))


@pytest.mark.parametrize("spelled", spellings(SECRET))
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_a_key_that_a_server_quotes_is_masked_however_it_is_spelled(spelled, status, caplog):
    """`sk\\u002d...` in the JSON of an error got through: the text was masked, then parsed."""
    raw = b'{"error": {"message": "bad key ' + spelled.replace("\n", "\\n").encode() + b' here"}}'
    async with staged(script(Reply(raw, status))) as engine:
        server = HttpServer(engine.url, KEY, retry=ONCE)
        shown = await failing(server, server.post("/x", {}, lambda raw: raw))
        assert "bad key" in shown
        assert not holds(shown + caplog.text + repr(server)), shown


async def test_a_key_in_a_broken_answer_is_masked():
    for raw in (b"HTTP/1.1 bad " + SECRET.encode(), b'{"n": "' + SECRET.encode() + b'"}'):
        async with staged(script(Reply(raw))) as engine:
            server = HttpServer(engine.url, KEY, retry=ONCE)
            assert not holds(
                await failing(server, server.post("/x", {}, lambda raw: int(raw["n"])))
            )


def test_a_short_key_hides_no_common_word():
    assert Key("EMPTY", "a test").hide("an empty list, EMPTY") == "an empty list, ***"


@asynccontextmanager
async def passing(answer):
    async with staged(script(answer)) as engine:
        forwarded = Passthrough(
            model(engine.url, "sglang", Continuation.CONTINUE_FINAL, key=KEY), Author.STRONG
        )
        yield forwarded, forwarded.begin({"messages": [{"role": "user", "content": "q"}]})


@pytest.mark.parametrize("spelled", spellings(SECRET))
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
async def test_a_forwarded_error_holds_no_key(spelled, status):
    value = spelled.replace("\n", "\\n").encode()
    raw = b'{"error": {"message": "%s", "code": "%s", "param": "%s"}}' % (value, value, value)
    async with passing(Reply(raw, status, {"Retry-After": "²"})) as (forwarded, proxied):
        with pytest.raises(APIError) as caught:
            await forwarded.respond("/chat/completions", proxied, 5)
    error = caught.value
    assert not holds(json.dumps([error.message, error.code, error.param, error.headers]))


@pytest.mark.parametrize("value", ["9" * 400, "1e400", "inf", "²", "-1", "1000000000"])
async def test_a_forwarded_pause_is_a_number_within_a_day(value):
    async with passing(Reply({}, 429, {"Retry-After": value})) as (forwarded, proxied):
        with pytest.raises(APIError) as caught:
            await forwarded.respond("/chat/completions", proxied, 5)
    assert 1 <= int(caught.value.headers["Retry-After"]) <= LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    "reply",
    [
        packed(),
        endless(b"9" * (1 << 20)),
        Reply(DEEP),
        packed(400),
    ],
    ids=["gzip", "endless", "deep", "error"],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_forwarded_answers_are_bounded(reply, streams):
    async def ask(forwarded, proxied):
        with pytest.raises(APIError) as caught:
            if streams:
                async for _ in forwarded.stream("/chat/completions", proxied, 5):
                    pass
            else:
                await forwarded.respond("/chat/completions", proxied, 5)
        assert caught.value.status in (400, 503)
        assert len(caught.value.message) < 400

    async with passing(reply) as (forwarded, proxied):
        assert await longest_silence(ask(forwarded, proxied)) < 0.5


# Addresses


@pytest.mark.parametrize(
    "url",
    ["http://a..b/", "http://.a/", f"http://{'a' * 64}.com/", "http://[::1/", "http://a:99999/",
     "http://a:0/", "http://a:b/", "http://a b/", "http://a/\n", "http://a/\u2028", "http:///v1",
     "http://", "//a/v1", "http://a\u3002\u3002b/", "http://[zz]:1/", "\ud800http://a/"],
)  # fmt: skip
def test_addresses_that_cannot_be_asked_are_named(url):
    with pytest.raises(InvalidInput, match="not a server's URL"):
        HttpServer(url)


@pytest.mark.parametrize(
    "proxy", ["garbage", "http://me:word@a..b:1", "http://me:word@:80", f"http://{'a' * 64}"]
)
def test_a_proxy_that_cannot_be_asked_is_named_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(InvalidInput, match="http_proxy: not a URL") as caught:
        HttpServer("http://engine.invalid/v1")
    assert "word" not in str(caught.value)


async def test_a_proxy_that_refuses_is_named_without_its_password(monkeypatch):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://bob:a%20word@127.0.0.1:{port}")
        server = HttpServer("https://engine.invalid/v1", retry=RetryPolicy(5, 1))
        with pytest.raises(ModelUnavailable, match="407") as caught:
            await server.post("/x", {}, lambda raw: raw)
    assert "word" not in str(caught.value) and "bob" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_address_is_checked_in_one_line(text):
    for url in (text, f"http://{text}", f"http://a{text}/v1", f"https://a:{text}"):
        try:
            checked_url(url)
        except InvalidInput as error:
            assert "\n" not in str(error)


# Files of weights


def learned(folder, family, shapes, features):
    sizes = {"inputs": len(features) + 1, 1: 1}
    tensors = {
        name: np.full([sizes.get(size, 4) for size in shape], 0.1, dtype=np.float32)
        for name, shape in shapes.items()
    }
    prices = PriceRange(0.001, 0.01)
    router = LearnedRouter(family, features, True, prices, (0.01, 0.001), tensors, "prm", {})
    write_router(folder, router)
    return folder / f"{family}.json"


def weights_in(folder):
    """A file of each kind, and the function that reads it."""
    terms = TermModel({"sum": (1.5, -0.5), "sum of": (2.0, 0.25)}, 0.125)
    embedding = EmbeddingModel(lambda texts: [], (0.5, -0.5), 0.25)
    table = VerifierTable(ScoreSummary.MEAN, (0.5,), (0.5, 0.25), (100.0, 50.0))
    router = CalibratedRouter("thr", 0.5, None, "prm", {"weak": "a"}, 100,
                              {"target": 0.9, "confidence": 0.9, "horizon": 100, "bound": 0.8},
                              {"accuracy": 0.9})  # fmt: skip
    records = {
        "joint": (json.loads((FOLDER / "joint.json").read_text()) | {"seen": []}, read_weights),
        "pomdp": (json.loads(BELIEF.read_text()) | {"seen": []}, read_model),
        "agg": (learned(folder, "agg", AGG_SHAPES, PAPER), lambda path: read_agg(path.parent)),
        "seq": (learned(folder, "seq", SEQ_SHAPES, FEATURES), lambda path: read_seq(path.parent)),
        "classifier": (classifier_record(terms, (0.5,)), read_classifier),
        "automix": (automix_record("automix", table), partial(read_automix, AutoMix)),
        "embedding": (
            embedding_record(embedding, "e", (0.5,)),
            partial(read_embedding_classifier, embedding.encode, "e", 2),
        ),
        "router": (router.to_json(folder / "router.json"), read_calibrated_router),
        "curve": (
            {"points": [{"policy": "thr", "setting": 0.5, "accuracy": 0.5, "strong_share": 0.5,
                         "money_mean": 0.001}]},
            read_curve,
        ),
    }  # fmt: skip
    for name, (record, read) in records.items():
        path = record if isinstance(record, Path) else folder / f"{name}.json"
        if record is not path:
            path.write_text(json.dumps(record))
        yield name, path, read


SHOWN_ONLY = ("figures", "target", "confidence", "horizon", "bound", "version", "profile")
"""Fields of a router file that no decision reads."""


def test_an_odd_value_anywhere_in_a_file_of_weights_is_named(tmp_path):
    chance = random.Random(5)
    for name, path, read in weights_in(tmp_path):
        read(path)
        content = path.read_text()
        record = json.loads(content)
        found = [place for place in places(record) if place]
        numeric = []
        for place in found:
            value = record
            for part in place:
                value = value[part]
            if type(value) is float and place[0] not in SHOWN_ONLY:
                numeric.append(place)
        cases = [(chance.choice(found), odd) for odd in [*ODD, DEEP] for _ in range(6)]
        bad = [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)]
        certain = [(chance.choice(numeric), odd) for odd in bad for _ in range(4)]
        for place, odd in (*cases, *certain):
            text = json.dumps(replaced(record, place, "DEEP" if odd is DEEP else odd))
            path.write_text(text.replace('"DEEP"', "[" * 5000 + "]" * 5000))
            try:
                read(path)
            except InvalidInput as error:
                assert "\n" not in str(error)
            else:
                assert (place, odd) not in certain, (name, place, odd)
        path.write_text(content)


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("family", ["agg", "seq"])
def test_weights_of_a_network_that_are_no_numbers_are_named(tmp_path, family, odd):
    shapes, features, read = {
        "agg": (AGG_SHAPES, PAPER, read_agg),
        "seq": (SEQ_SHAPES, FEATURES, read_seq),
    }[family]
    path = learned(tmp_path, family, shapes, features)
    tensors = load_file(tmp_path / f"{family}.safetensors")
    tensors["output.bias"][0] = odd
    content = save(tensors)
    (tmp_path / f"{family}.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": digest}))
    with pytest.raises(InvalidInput, match="damaged"):
        read(tmp_path)


# GGUF files


def flipped(folder, content, place, bit):
    damaged = bytearray(content)
    damaged[place] ^= 1 << bit
    path = folder / "flipped.gguf"
    path.write_bytes(damaged)
    return path


def aborting(folder):
    """The shipped weak model with one bit flipped: a token occurs twice, at which llama.cpp
    aborts."""
    content = (FOLDER / "weak.gguf").read_bytes()
    token = (1).to_bytes(8, "little") + b"L"
    return flipped(folder, content, content.index(token) + len(token) - 1, 0)


def test_a_flipped_model_file_is_named_and_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = aborting(tmp_path)
    with pytest.raises(ModelUnavailable, match=r"flipped.gguf: damaged; llama.cpp aborts"):
        LlamaCppEngine(path, slots=1, context=64)
    assert not cache_file().exists()


def test_a_model_file_is_tried_once_and_the_shipped_ones_never(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tried = []

    def run(*arguments, **settings):
        tried.append(arguments)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(load_trial.subprocess, "run", run)
    shipped = sorted(FOLDER.glob("*.gguf"))
    assert {sha256_of(path) for path in shipped} == load_trial.KNOWN
    for path in shipped:
        require_loadable(path)
    assert not tried
    path = tmp_path / "own.gguf"
    path.write_bytes(shipped[0].read_bytes() + b"\0")
    for _ in range(3):
        require_loadable(path)
    assert len(tried) == 1
    require_loadable(path.rename(tmp_path / "moved.gguf"))
    assert len(tried) == 1
    (tmp_path / "moved.gguf").write_bytes(path.name.encode())
    require_loadable(tmp_path / "moved.gguf")
    assert len(tried) == 2
    for content in ("", "[]", '{"sound": 5}', '{"sound": {"a": 5}}', "[" * 100_000):
        cache_file().write_text(content)
        require_loadable(tmp_path / "moved.gguf")
    assert len(tried) == 7
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    require_loadable(tmp_path / "moved.gguf")
    assert len(tried) == 8


def test_no_flipped_header_ends_in_a_traceback(tmp_path):
    chance = random.Random(9)
    content = (FOLDER / "weak.gguf").read_bytes()[:16_384]
    for number in range(80):
        # Of half of the files several bytes are changed: lengths become arbitrary.
        path = flipped(tmp_path, content, chance.randrange(4, 13_000), chance.randrange(8))
        if number % 2:
            changed = bytearray(path.read_bytes())
            place = chance.randrange(4, 13_000)
            changed[place : place + 8] = chance.randbytes(8)
            path.write_bytes(changed)
        for read in (read_chat, read_vocabulary):
            try:
                read(path)
            except InvalidInput as error:
                assert "\n" not in str(error)
