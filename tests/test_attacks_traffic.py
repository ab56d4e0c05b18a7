"""Hostile requests and engines against whole answers and the scope of routing."""

import asyncio
import json
import random
import re
import time

import pytest
from staged_server import Reply, events, staged
from test_whole import (
    COUNTED,
    body,
    client_of,
    configured,
    opened_at,
    piece,
    records,
    serving,
    streamed,
)

from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.policies.scope import CHARACTERS, FAMILY, Scope, read_classifier
from trim.server.admission import Limits
from trim.server.run import Serving, opened

QUESTION = "Write a haiku."


async def test_a_pattern_reads_the_beginning_of_a_long_message_only(tmp_path):
    """A pattern that takes quadratic time would hold up everybody else."""
    scope = {"question": r"\s+y", "rest": "weak"}
    async with (
        staged(streamed("yes")) as server,
        serving(tmp_path, server, scope=scope) as client,
    ):
        started = time.process_time()
        answer = await client.post("/chat/completions", json=body(f"a{' ' * 99_000}x"))
        assert answer.status_code == 200 and time.process_time() - started < 3
    read = []

    class Classifier:
        def probability(self, question):
            read.append(len(question))
            return 0.9

    assert Scope("weak", classifier=Classifier()).why_outside("x" * 10**6) is None
    assert read == [CHARACTERS]


async def test_an_engine_that_writes_more_than_it_may_is_cut(tmp_path):
    endless = [piece("word ")] * 100_000
    async with (
        staged(lambda request: events(*endless)) as server,
        serving(tmp_path, server) as client,
    ):
        asked = body(QUESTION, model="trim:strong", max_tokens=20)
        answer = (await client.post("/chat/completions", json=asked)).json()
        (choice,) = answer["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("word " * 20, "length")
        limited = {**asked, "max_tokens": 50, "trim": {"strong_tokens": 7}}
        answer = (await client.post("/chat/completions", json=limited)).json()
        assert answer["usage"]["trim"]["strong_tokens"] == 7
    assert [row[4] for row in records(tmp_path)] == [20, 7]


@pytest.mark.parametrize("limit", [2**31, 2**63, 10**30])
async def test_a_limit_beyond_every_engine_is_lowered(tmp_path, limit):
    """llama.cpp refuses one of more than 31 bits, and its binding raises beyond 64."""
    source = models_in()
    options = Serving("127.0.0.1", 0, str(tmp_path / "trim.sqlite"), Limits())
    async with (
        opened(source, source.load(slots=1), options) as service,
        client_of(service) as client,
    ):
        asked = body("Start with 2. 1) add 3. What is the result?", model="trim:weak")
        told = await client.post("/chat/completions", json={**asked, "max_tokens": limit})
        assert told.status_code == 200, told.text


@pytest.mark.parametrize(
    ("part", "status", "finish"),
    [
        (piece("x"), 503, "failed"),
        ({"choices": []}, 503, "failed"),
        (piece("", "stop"), 200, "stop"),  # Nothing that follows the end is read.
    ],
)
async def test_an_endless_stream_ends_with_the_deadline(tmp_path, part, status, finish):
    forever = Reply(
        b"",
        headers={"Content-Type": "text/event-stream"},
        later=(b"data: " + json.dumps(part).encode() + b"\n\n",) * 100_000,
        pause=0.001,
    )
    async with staged(lambda request: forever) as server, serving(tmp_path, server) as client:
        started = time.monotonic()
        # Seconds enough for the first part to arrive while other processes keep the cores busy.
        asked = body(QUESTION, model="trim:weak", trim={"deadline": 3})
        answer = await client.post("/chat/completions", json=asked)
        assert answer.status_code == status and time.monotonic() - started < 20
    ((_, _, ended, weak, _, _),) = records(tmp_path)
    assert ended == finish and (weak > 0) == (part == piece("x"))


def damaged(chance):
    """A part of a stream that no server should send."""
    return chance.choice(
        [
            piece(7),
            piece(["text"]),
            piece("a", chance.choice(["content_filter", 9, {}, "?"])),
            {"choices": [None]},
            {"choices": {"0": 1}},
            {"choices": [{"delta": "text"}]},
            {"usage": {"prompt_tokens": "many"}, "choices": []},
            {"error": {"message": "no"}},
            [],
            7,
            "text",
        ]
    )


async def test_damaged_streams_fail_their_request_and_nothing_else(tmp_path):
    chance = random.Random(18)

    def answer(request):
        if QUESTION not in str(request.body["messages"]):
            return streamed("fine")(request)
        return events(*[piece("ok ")] * chance.randrange(2), damaged(chance), COUNTED)

    async with staged(answer) as server, serving(tmp_path, server) as client:
        for number in range(40):
            well = await client.post("/chat/completions", json=body("hello", model="trim:weak"))
            assert well.json()["choices"][0]["message"]["content"] == "fine"
            asked = body(QUESTION, model="trim:weak", stream=bool(number % 2))
            told = await client.post("/chat/completions", json=asked)
            assert told.status_code in (200, 503), told.text
            if told.status_code == 200:
                assert "ok" in told.text


async def test_whoever_leaves_is_billed_for_what_was_written(tmp_path):
    async with (
        staged(lambda request: events(*[piece("word ")] * 5000, pause=0.002)) as server,
        serving(tmp_path, server) as client,
    ):
        asked = body("question " * 40, model="trim:strong", stream=True)
        asking = asyncio.create_task(client.post("/chat/completions", json=asked))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        asking.cancel()
        while not records(tmp_path):
            await asyncio.sleep(0.02)
        while server.lost == 0:
            await asyncio.sleep(0.01)
    ((_, policy, finish, _, strong, _),) = records(tmp_path)
    assert (policy, finish) == ("strong", "abandoned") and 0 < strong < 5000


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0" * 1000,
        json.dumps({"policy": FAMILY, "encoder": "x", "intercept": 0, "coefficients": []}).encode(),
        b'{"policy": "scope", "intercept": NaN, "coefficients": [1]}',
        b'{"policy": "scope", "intercept": 1, "coefficients": 1' + b"0" * 400 + b"}",
    ],
)
async def test_a_damaged_classifier_is_one_line(tmp_path, damage):
    path = tmp_path / "scope.json"
    path.write_bytes(damage)
    with pytest.raises(InvalidInput, match=re.escape(str(path))) as refused:
        read_classifier(path)
    assert "\n" not in str(refused.value)
    async with staged(streamed("x")) as server:
        scope = {"classifier": "scope.json", "rest": "weak"}
        with pytest.raises(InvalidInput):
            async with opened_at(configured(tmp_path, server, scope=scope)):
                pass
