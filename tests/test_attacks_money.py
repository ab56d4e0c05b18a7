"""What attacks on keys, budgets and bills met: each case fails where the hole is open again."""

import asyncio
import logging
import math
import os
import signal
import sqlite3
import stat
import time
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from databases import made_at
from hypothesis import given
from hypothesis import strategies as st
from preloaded import completed, started
from sqlalchemy import select, update
from staged_server import SILENCE, chat, events, staged, usage
from test_server_api import QUESTIONS, asked, configured, counting
from test_server_passthrough import TOOL, passing
from test_server_storage import count, entry
from test_server_workers import kept, key_for, serving

from trim.costs import Price, Prices
from trim.errors import InvalidInput
from trim.models.anthropic import AnthropicModel
from trim.models.model import Prefix, Sampling
from trim.models.openai import OpenAIModel
from trim.models.usage import (
    LARGEST_COUNT,
    Call,
    count_in,
    usage_of,
    usage_of_message,
    usage_of_timings,
)
from trim.server.errors import APIError
from trim.server.page.overview import score_drift, warnings
from trim.server.storage import ledger as ledgers
from trim.server.storage.database import open_database
from trim.server.storage.keys import LARGEST_BUDGET, Keys
from trim.server.storage.ledger import Amount, Ledger, today
from trim.server.storage.recorder import LARGEST, Recorder
from trim.server.storage.tables import requests, reservations, servers, steps
from trim.server.storage.traffic import Spent

PRICES = Prices(*(Price(1.0, 0.1, 4.0),) * 3)
GREEDY = Sampling(0.0, 1.0, 0, 64)


# Usage from outside.

ODD = [
    *(-5, -1, 10**12, 2**63, 10**400, 3.5, 1e300, math.nan, math.inf, True, False, None),
    *("many", "-3", "\x1b[2J", "9" * 50, "²", "", [], [3], {}, {"a": 1}),
]
"""What is no count of tokens."""


def reports(value):
    """A usage in each dialect with this number in one place at a time."""
    for place in range(3):
        prompt, cached, tokens = (value if place == each else 7 for each in range(3))
        openai = {"prompt_tokens": prompt, "completion_tokens": tokens}
        yield usage_of, {**openai, "prompt_tokens_details": {"cached_tokens": cached}}
        yield usage_of, {**openai, "prompt_cache_hit_tokens": cached}
        yield usage_of, {**openai, "prompt_tokens_details": cached}
        yield usage_of_timings, {"prompt_n": prompt, "cache_n": cached, "predicted_n": tokens}
        anthropic = {"input_tokens": prompt, "output_tokens": tokens}
        yield usage_of_message, {**anthropic, "cache_read_input_tokens": cached}
        yield usage_of_message, {**anthropic, "cache_creation_input_tokens": cached}


def require_sound(found):
    assert all(type(each) is int for each in (found.prompt_tokens, found.cached_tokens))
    assert 0 <= found.cached_tokens <= found.prompt_tokens <= LARGEST_COUNT
    assert 0 <= found.tokens <= LARGEST_COUNT and type(found.tokens) is int
    assert 0 <= PRICES.of_usage({"strong": found}) < math.inf


def test_no_usage_makes_money():
    for value in ODD:
        for read, reported in reports(value):
            require_sound(read(reported, Call("here", "eight words of four letters in a line"), 5))


FIELDS = (
    *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "prompt_n"),
    *("cache_n", "predicted_n", "input_tokens", "output_tokens", "cache_read_input_tokens"),
    *("cache_creation_input_tokens", "prompt_cache_hit_tokens"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON, st.integers(0, 1000))
def test_any_json_is_a_sound_usage(reported, written):
    for read in (usage_of, usage_of_message, usage_of_timings):
        with suppress(LookupError, ValueError):  # A damaged answer.
            require_sound(read(reported, Call("here", "a prompt"), written))


def test_counts_in_other_spellings_count_and_wrong_ones_are_estimated():
    assert [count_in(value) for value in (0, 7, 7.0, "7", LARGEST_COUNT)] == [0, 7, 7, 7, 10**7]
    assert [value for value in ODD if count_in(value) is not None] == []
    call = Call("here", {"messages": [{"role": "user", "content": "x" * 40}], "max_tokens": 9})
    found = usage_of({"prompt_tokens": -1, "completion_tokens": -1}, call, 6)
    assert (found.prompt_tokens, found.tokens) == (10, 6)
    exclusive = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 9}
    assert usage_of(exclusive, call, 0).cached_tokens == 5
    assert usage_of({"prompt_tokens": 3}, Call("here", [1]), 4).tokens == 4
    both = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 5}
    assert usage_of_message({**both, "cache_creation_input_tokens": 2}, call, 0).prompt_tokens == 9


CHEATING = {
    "more cached than read": usage(10, 3, prompt_tokens_details={"cached_tokens": 10**6}),
    "negative": usage(-(10**6), -(10**6)),
    "absurd": usage(2**63, 2**63),
    "words": usage("ten", "three"),
    "booleans": usage(True, True),
    "null": usage(None, None),
    "nested": usage({"count": 10}, [3]),
}


@pytest.mark.parametrize("counts", CHEATING.values(), ids=CHEATING)
async def test_no_engine_refunds_and_each_is_named_once(counts, caplog):
    answers = chat("The answer is\ud800 \\boxed{7}.")
    async with staged(lambda _: {**answers, "usage": counts}) as server:
        model = OpenAIModel(server.url, "m", continuation="user_turn", dialect="other")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                step = await model.write_step(Prefix("a question " * 4), GREEDY, 0)
    assert 0 <= step.cached_tokens <= step.prompt_tokens and step.tokens > 0
    assert step.prompt_tokens > 5 and "\ufffd" in step.text
    (warning,) = [r.getMessage() for r in caplog.records if "cannot be right" in r.getMessage()]
    assert warning.startswith(model.server.name) and "\n" not in warning


async def test_anthropics_counts_are_checked_too(caplog):
    message = {
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "<step>The answer is 7.</step>"}],
        "usage": {"input_tokens": -9, "cache_read_input_tokens": 10**9, "output_tokens": "3"},
    }
    async with staged(lambda _: message) as server:
        model = AnthropicModel("m", server.url, continuation="user_turn", key="k")
        step = await model.write_step(Prefix("a question"), GREEDY, 0)
    assert (step.tokens, step.cached_tokens) == (3, 0) and step.prompt_tokens > 20


@pytest.mark.parametrize("counts", [None, usage(10, -3), usage(4, 0, prompt_cache_hit_tokens=9)])
async def test_what_a_stream_has_sent_is_counted(counts):
    tokens = ["The", " answer", " is", " 7", "."]
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": token}, "logprobs": {"content": [
            {"token": token, "logprob": -0.1, "top_logprobs": []}]}}], "usage": counts}
        for token in tokens
    ]  # fmt: skip
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    async with staged(lambda _: events(*chunks)) as server:
        model = OpenAIModel(server.url, "m", continuation="continue_final", dialect="vllm")
        span = await model.write_span(Prefix("q" * 400), GREEDY, 0)
    assert span.tokens == len(tokens) and 0 <= span.cached_tokens <= span.prompt_tokens
    assert span.prompt_tokens == (4 if counts and counts["prompt_tokens"] == 4 else
                                  10 if counts else span.prompt_tokens) > 0  # fmt: skip


# Keys.


def test_keys_are_needed_from_the_first_one_on(tmp_path):
    """Also after a restart, with every key revoked, and for the operator's view."""
    key = completed("keys", "create", "app", cwd=tmp_path).stdout.strip()
    database = tmp_path / "trim-server.sqlite"
    assert "no valid key is left" in completed("keys", "revoke", "app", cwd=tmp_path).stderr
    assert "no valid key is left" in completed("keys", "list", cwd=tmp_path).stderr
    with started("serve", "--port", "0", "--database", database) as process:
        root = process.address().removesuffix("/v1")
        for sent in ({}, {"Authorization": f"Bearer {key}"}):
            with httpx.Client(timeout=30, headers=sent) as client:
                answers = [
                    client.post(f"{root}/v1/chat/completions", json=asked()),
                    client.get(f"{root}/v1/models"),
                    client.post(f"{root}/page/solutions", json=asked()),
                    client.get(f"{root}/page/traffic"),
                ]
            assert [answer.status_code for answer in answers] == [401] * 4


async def test_budgets_and_names_that_no_database_takes_are_one_line(engine):
    store = Keys(engine)
    for wrong in (2**63, 10**400, -1, math.nan, math.inf, 1e16):
        with pytest.raises(InvalidInput, match=r"from 0 up to 1,000,000,000,000,000") as told:
            await store.create("app", strong_tokens_a_day=wrong)
        assert len(str(told.value)) < 200 and "\n" not in str(told.value)
    for name in ("a\nb", "\x1b[31mred", "a\udcff", "nul\0", " ", "x" * 101):
        with pytest.raises(InvalidInput, match="printable"):
            await store.create(name)
    shown = await store.create("app", LARGEST_BUDGET, LARGEST_BUDGET)
    assert (await store.find(shown)).strong_tokens_a_day == LARGEST_BUDGET


def test_the_command_says_which_database_it_writes(tmp_path):
    made = completed("keys", "create", "app", "--strong-tokens-a-day", 2**63, cwd=tmp_path)
    assert (made.returncode, len(made.stderr.splitlines()), made.stdout) == (2, 1, "")
    made = completed("keys", "create", "app", cwd=tmp_path)
    named, unused = made.stderr.splitlines()
    assert named == f"trim: the key 'app' is in {tmp_path}/trim-server.sqlite"
    assert "no running server uses this database" in unused
    assert made.stdout.startswith("trim-") and len(made.stdout.split()) == 1
    database = tmp_path / "trim-server.sqlite"
    with started("serve", "--port", "0", "--database", database) as process:
        process.address()
        (named,) = completed("keys", "create", "other", cwd=tmp_path).stderr.splitlines()
        assert str(database) in named
        process.send(signal.SIGTERM)
        process.process.join(30)
    made = completed("keys", "create", "third", cwd=tmp_path)
    assert "no running server" in made.stderr  # It has signed off.


def test_deleting_says_how_much_and_asks(tmp_path):
    database = tmp_path / "trim-server.sqlite"

    async def fill():
        engine = await open_database(str(database))
        recorder = Recorder(engine)
        await asyncio.gather(*(recorder.write(entry()) for _ in range(3)))
        await engine.dispose()

    asyncio.run(fill())
    words = ("traffic", "delete", "--older-than", 1)
    refused = completed(*words, cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "delete 3 requests from" in refused.stderr and "--yes" in refused.stderr
    assert completed(*words, "--yes", cwd=tmp_path).stdout == "3 requests deleted\n"
    assert completed(*words, cwd=tmp_path).stdout == "0 requests deleted\n"  # Nothing to ask.


# Files.


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o022])
async def test_only_the_owner_reads_a_database(tmp_path, umask):
    before = os.umask(umask)
    try:
        engine = await open_database(str(tmp_path / "new.sqlite"))
        await Keys(engine).create("app")
        # Another connection keeps the files beside it in place.
        assert modes(tmp_path) == dict.fromkeys(
            ("new.sqlite", "new.sqlite-wal", "new.sqlite-shm"), 0o600
        )
        await engine.dispose()
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    "old, new", [(0o644, 0o600), (0o666, 0o660), (0o660, 0o660), (0o640, 0o600)]
)
async def test_an_older_database_is_closed_to_others(tmp_path, old, new):
    path = tmp_path / "old.sqlite"
    sqlite3.connect(path).executescript("PRAGMA user_version = 1").close()
    path.touch()
    path.chmod(old)
    await (await open_database(str(path))).dispose()
    assert stat.S_IMODE(path.stat().st_mode) == new


async def test_a_database_of_the_version_before_opens_with_its_keys(address):
    made = "INSERT INTO keys (name, prefix, digest, created) VALUES ('app', 'p', 'd', 1)"
    await made_at(address, "0003", made)
    engine = await open_database(address)
    (key,) = await Keys(engine).all()
    ledger, recorder = Ledger(engine), Recorder(engine)
    await ledger.beat()
    made = await ledger.reserve(key, Amount(1.0, 5), 60.0, 1)
    await recorder.write(replace(entry(key.id, strong=2**39), reservation=made.id))
    assert await ledger.spent(key) == (0.5, 2**39)
    assert await count(engine, reservations) == 0
    await engine.dispose()


# The recorder.


def with_step(**fields):
    made = entry(number=1)
    return replace(made, steps=[{**made.steps[0], **fields}])


async def test_values_that_no_database_takes_are_bounded_and_cleaned(engine):
    store, recorder = Keys(engine), Recorder(engine)
    key = await store.find(await store.create("app"))
    wild = entry(key.id, money=math.inf, strong=2**70)
    texts = {"question": "\ud800x", "model": "m" * 999, "failure": "\udfff"}
    numbers = {"weak_tokens": -5, "seconds": math.nan}
    wild = replace(wild, request={**wild.request, **texts, **numbers})
    author = dict.fromkeys(("author", "fallback"), "intermediate")
    long = with_step(**author, text="\udc00", score=math.nan, tokens=10**400)
    negative = entry(key.id, money=-5.0, strong=-5)
    await asyncio.gather(*(recorder.write(each) for each in (wild, long, negative)))
    async with engine.connect() as connection:
        row = (await connection.execute(
            select(requests).where(requests.c.id == wild.request["id"])
        )).one()  # fmt: skip
        step = (await connection.execute(select(steps))).one()
    assert (row.question, len(row.model), row.weak_tokens) == ("\ufffdx", 200, 0)
    assert (step.author, step.fallback, step.text) == ("intermediate", "intermediate", "\ufffd")
    assert (step.tokens, step.score) == (LARGEST, None)
    assert await Ledger(engine).spent(key) == (float(LARGEST), LARGEST)


async def test_one_bad_record_costs_its_neighbours_nothing(engine, caplog):
    """However it gets past the border; it is billed all the same."""
    store, recorder = Keys(engine), Recorder(engine)
    key, other = [await store.find(await store.create(name)) for name in ("good", "bad")]
    twice = entry(other.id, money=1.0, strong=5)
    await recorder.write(twice)
    good = [entry(key.id, money=0.25, strong=3, number=2) for _ in range(58)]
    mixed = [*good[:20], replace(twice, reservation="x"), *good[20:]]
    ended = await asyncio.gather(*map(recorder.write, mixed), return_exceptions=True)
    failed = [(place, end) for place, end in enumerate(ended) if end]
    assert [(place, end.status) for place, end in failed] == [(20, 503)]
    assert await count(engine, requests) == 59
    assert await Ledger(engine).spent(key) == (58 * 0.25, 58 * 3)
    assert await Ledger(engine).spent(other) == (2.0, 10)
    logged = [r for r in caplog.records if "could not be recorded" in r.getMessage()]
    assert [r.getMessage() for r in logged] == ["1 requests could not be recorded"]


# Reservations.


async def ledger_with(engine, **budget):
    store, ledger = Keys(engine), Ledger(engine)
    await ledger.beat()
    return await store.find(await store.create("app", **budget)), ledger


async def test_reservations_together_stay_within_the_budget(engine):
    key, ledger = await ledger_with(engine, strong_tokens_a_day=1000, money_a_day=10.0)
    many = [ledger.reserve(key, Amount(0.1, 64), 60.0, 999) for _ in range(60)]
    ended = await asyncio.gather(*many, return_exceptions=True)
    made = [each for each in ended if not isinstance(each, Exception)]
    assert sum(each.amount.strong_tokens for each in made) == 1000
    assert len(made) == 16  # 15 whole ones and the rest
    refused = {each.code for each in ended if isinstance(each, Exception)}
    assert refused == {"budget_reserved"}
    assert await ledger.extend(made[0], Amount(1.0, 100)) == Amount(1.0, 0)
    await ledger.release(made[0])
    granted = await ledger.extend(made[1], Amount(1.0, 100))
    assert granted.strong_tokens == 64
    assert not made[1].is_exhausted


async def test_requests_of_a_key_at_once_are_limited_over_all_servers(engine):
    key, ledger = await ledger_with(engine)
    other = Ledger(engine)
    await other.beat()
    for each in (ledger, other, ledger):
        await each.reserve(key, Amount(0.0, 0), 60.0, 3)
    with pytest.raises(APIError, match="3 requests in progress") as refused:
        await other.reserve(key, Amount(0.0, 0), 60.0, 3)
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    await ledger.leave()
    await other.reserve(key, Amount(0.0, 0), 60.0, 3)


async def test_what_a_dead_server_had_reserved_is_free_again(engine):
    key, ledger = await ledger_with(engine, strong_tokens_a_day=100)
    other = Ledger(engine)
    await other.beat()
    assert await ledger.servers() == 2
    await other.reserve(key, Amount(0.0, 100), 600.0, 9)
    with pytest.raises(APIError, match="reserved"):
        await ledger.reserve(key, Amount(0.0, 10), 60.0, 9)
    async with engine.begin() as connection:  # `other` was killed a lease ago.
        await connection.execute(
            update(servers)
            .where(servers.c.id == other.server_id)
            .values(seen=time.time() - ledgers.LEASE - 1)
        )
    assert await ledger.servers() == 1
    late = await ledger.reserve(key, Amount(0.0, 10), -1.0, 9)  # has ended, and was not settled
    assert (await ledger.reserve(key, Amount(0.0, 10), 60.0, 9)).left.strong_tokens == 100
    await ledger.beat()
    async with engine.connect() as connection:
        left = (await connection.execute(select(reservations.c.id))).scalars().all()
    assert late.id not in left and len(left) == 1


BUDGET = 100


async def flood(url, key, number, stream=False, **more):
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=number)
    async with httpx.AsyncClient(timeout=60, headers=headers, limits=limits) as client:
        bodies = [asked(f"{QUESTIONS[n % 12]} ({n})", stream=stream, **more) for n in range(number)]
        return await asyncio.gather(
            *(client.post(f"{url}/chat/completions", json=body) for body in bodies)
        )


def spent_in(database):
    with sqlite3.connect(database) as connection:
        (sums,) = connection.execute("SELECT sum(strong_tokens), count(*) FROM requests")
        (left,) = connection.execute("SELECT count(*) FROM reservations").fetchone()
    connection.close()
    return *sums, left


async def test_200_parallel_requests_of_a_key_overspend_by_one_at_most(address):
    workers = 1 if address.startswith("postgresql") else 2
    key = await key_for(address, strong_tokens_a_day=BUDGET)
    async with serving(address, "--workers", workers) as (_, url, _):
        ended = await flood(url, key, 200, model="trim:strong")
    codes = {each.json()["error"]["code"] for each in ended if each.status_code == 429}
    assert codes <= {"budget_reserved", "insufficient_quota"}
    answered = [each.json()["usage"]["trim"] for each in ended if each.status_code == 200]
    assert len(answered) + sum(each.status_code == 429 for each in ended) == 200
    on_disk, (_, spent) = await kept(address)
    assert len(on_disk) == len(answered) >= 1
    assert spent == sum(used["strong_tokens"] for used in answered)
    assert spent <= BUDGET + max(used["strong_tokens"] for used in answered)
    engine = await open_database(address)
    assert await count(engine, reservations) == await count(engine, servers) == 0
    await engine.dispose()


def hasten():
    from trim.server import accounts
    from trim.server.storage import ledger

    # Long enough that a server on busy cores renews what it has reserved in time.
    ledger.LEASE, accounts.BEAT = 5.0, 0.2


async def test_what_a_killed_server_had_reserved_is_free_again(tmp_path):
    database = tmp_path / "trim.sqlite"
    key = await key_for(str(database), strong_tokens_a_day=9)
    headers = {"Authorization": f"Bearer {key}"}
    is_silent = True

    def answer(request):
        counts = request.body["messages"][0]["content"].startswith("Count")
        return SILENCE if is_silent and not counts else counting(request)

    async with staged(answer) as engine, httpx.AsyncClient(timeout=60, headers=headers) as client:
        words = ("serve", configured(tmp_path, engine), "--port", "0", "--database", database)
        body = asked(model="trim:strong", max_tokens=9)
        with started(*words, stage=hasten) as first, started(*words, stage=hasten) as second:
            one, other = [await asyncio.to_thread(each.address) for each in (first, second)]
            under_way = asyncio.create_task(client.post(f"{one}/chat/completions", json=body))
            async with asyncio.timeout(30):
                while await count_in_file(database, "reservations") == 0:
                    await asyncio.sleep(0.02)
            refused = await client.post(f"{other}/chat/completions", json=body)
            assert refused.json()["error"]["code"] == "budget_reserved"
            first.send(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await under_way
            is_silent = False
            async with asyncio.timeout(30):
                while refused.status_code == 429:
                    assert refused.json()["error"]["code"] == "budget_reserved"
                    await asyncio.sleep(0.1)
                    refused = await client.post(f"{other}/chat/completions", json=body)
            assert refused.status_code == 200


async def count_in_file(database, table):
    connection = sqlite3.connect(database)
    (number,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return number


def test_the_limit_of_requests_at_once_is_an_option(tmp_path):
    key = completed("keys", "create", "app", cwd=tmp_path).stdout.strip()
    database = tmp_path / "trim-server.sqlite"
    words = ("serve", "--port", "0", "--database", database, "--requests-per-key", 2)
    with started(*words, "--running", 1) as process:
        ended = asyncio.run(flood(process.address(), key, 12))
        refused = [each for each in ended if each.status_code == 429]
        assert refused and len(refused) < 12
        assert {each.json()["error"]["code"] for each in refused} == {"too_many_requests"}


def shorten():
    from trim.server import service

    service.ANSWER_TOKENS = 4


def test_long_answers_within_the_budget_are_not_cut(tmp_path):
    """A request reserves more while it goes on."""
    words = ("keys", "create", "app", "--strong-tokens-a-day", 5000, "--money-a-day", 5)
    key = completed(*words, cwd=tmp_path).stdout.strip()
    database = tmp_path / "trim-server.sqlite"

    with started("serve", "--port", "0", "--database", database, stage=shorten) as process:
        question = [{"role": "user", "content": QUESTIONS[0]}]
        words = {"model": "trim:strong", "messages": question}
        (answer,) = asyncio.run(flood(process.address(), key, 1, **words))
        used = answer.json()["usage"]["trim"]
        assert used["strong_tokens"] > 20 and used["weak_tokens"] == 0
        strong, _, left = spent_in(database)
        assert (strong, left) == (used["strong_tokens"], 0)


async def rows_of(folder, number):
    """Finish and strong tokens of the recorded requests, once there are so many."""
    async with asyncio.timeout(30):
        while True:
            with sqlite3.connect(folder / "trim.sqlite") as connection:
                rows = connection.execute("SELECT finish, strong_tokens FROM requests").fetchall()
            connection.close()
            if len(rows) >= number:
                return rows
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_decoded_for_an_abandoned_request_is_billed(monkeypatch, tmp_path, stream):
    async with passing(monkeypatch, tmp_path, lambda _: SILENCE) as (_, client):
        async with httpx.AsyncClient() as plain:
            body = asked("a question", stream=stream, model="trim:strong")
            with pytest.raises(httpx.ReadTimeout):
                await plain.post(f"{client.base_url}chat/completions", json=body, timeout=0.5)
        ((finish, strong),) = await rows_of(tmp_path, 1)
    assert finish == "abandoned" and 5 <= strong <= 100


async def test_a_forwarded_request_that_is_abandoned_is_billed(monkeypatch, tmp_path):
    async with passing(monkeypatch, tmp_path, lambda _: SILENCE) as (_, client):
        async with httpx.AsyncClient() as plain:
            body = asked(tools=[TOOL])
            with pytest.raises(httpx.ReadTimeout):
                await plain.post(f"{client.base_url}chat/completions", json=body, timeout=0.5)
        ((finish, strong),) = await rows_of(tmp_path, 1)
    assert finish == "abandoned" and 5 <= strong <= 100


# The operator's view.


def test_warnings_name_the_share_of_a_budget():
    def told(*spent):
        return list(warnings([], spent, score_drift([]), None, None))

    assert told(Spent("a", today(), 1.64, 0, 1.0)) == [
        "the key a has spent 164 % of its budget for today"
    ]
    assert told(Spent("a", today(), 0.0, 999, None, 1000)) == [
        "the key a has spent 99 % of its budget for today"
    ]
    assert told(Spent("a", today(), 0.0, 0, 0.0)) == []
    assert told(Spent("a", today(), 0.1, 0, 0.0)) == [
        "the key a has spent more than nothing of its budget for today"
    ]
