"""Several processes behind one port, and several servers on one database."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import openai
import postgres
import pytest
from sqlalchemy import select
from staged_server import staged
from test_server_api import MAIN, QUESTIONS, asked, configured
from test_server_faults import writing

from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys
from trim.server.storage.ledger import Ledger
from trim.server.storage.tables import requests

LIMIT = 60
CLIENTS = 6
KILLS = 1
NO_POSTGRES = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "trim.sqlite")
    return postgres.fresh() or pytest.skip(NO_POSTGRES)


@asynccontextmanager
async def serving(address, *words, code=MAIN):
    """A server on a database: its process, its URL, and what it goes on to say."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "serve", *map(str, words), "--port", "0",
        "--database", address, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    line = (await asyncio.wait_for(process.stderr.readline(), LIMIT)).decode()
    assert line.startswith("trim: listening on "), line
    said = asyncio.create_task(process.stderr.read())
    try:
        yield process, line.split()[-1], said
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), LIMIT)
        await said
    assert process.returncode == 0, said.result()


def workers_of(parent):
    """Process ids of its workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            above = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            words = (folder / "cmdline").read_text()
        except OSError:  # It has ended meanwhile.
            continue
        if int(above) == parent and "spawn_main" in words:
            found.append(int(folder.name))
    return found


async def until(condition):
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.02)


async def key_for(address, **budget):
    engine = await open_database(address)
    key = await Keys(engine).create("app", **budget)
    await engine.dispose()
    return key


async def kept(address):
    """Spending on disk by request, and of the key."""
    engine = await open_database(address)
    async with engine.connect() as connection:
        rows = (await connection.execute(select(requests))).all()
    (key,) = await Keys(engine).all()
    spent = await Ledger(engine).spent(key)
    await engine.dispose()
    return {row.id: (row.strong_tokens, row.money) for row in rows}, spent


async def ask(client, url, chance, **more):
    answer = await client.post(
        f"{url}/chat/completions", json=asked(chance.choice(QUESTIONS), **more)
    )
    if answer.status_code != 200:
        return answer, None
    record = answer.json()
    spent = record["usage"]["trim"]
    return answer, (record["id"].partition("-")[2], (spent["strong_tokens"], spent["money"]))


@needs_proc
async def test_a_worker_that_is_killed_is_replaced_and_loses_what_was_under_way(address):
    key = await key_for(address)
    headers = {"Authorization": f"Bearer {key}"}
    chance, received, lost = random.Random(5), {}, 0

    async def ask_on(client):
        nonlocal lost
        while True:
            try:
                answer, spent = await ask(client, url, chance)
            except httpx.TransportError:
                lost += 1
                continue
            assert answer.status_code == 200, answer.text
            received.update([spent])

    async with (
        serving(address, "--workers", 2) as (process, url, said),
        httpx.AsyncClient(timeout=LIMIT, headers=headers) as client,
    ):
        asking = [asyncio.create_task(ask_on(client)) for _ in range(CLIENTS)]
        for _ in range(KILLS):
            goal = len(received) + 10
            await until(lambda goal=goal: len(received) >= goal)
            before = workers_of(process.pid)
            os.kill(before[0], signal.SIGKILL)
            await until(lambda before=before: set(workers_of(process.pid)) - set(before))
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
        figures = (await client.get(url.removesuffix("/v1") + "/metrics")).text
    assert said.result().decode().count("ended with code -9") == KILLS
    on_disk, spent = await kept(address)
    assert {name: on_disk[name] for name in received} == received
    assert lost <= KILLS * CLIENTS
    assert len(on_disk) - len(received) <= lost + CLIENTS
    assert spent[1] == sum(tokens for tokens, _ in on_disk.values())
    assert spent[0] == pytest.approx(sum(money for _, money in on_disk.values()))
    # The figures are of all workers, of those that died too.
    lines = [line.split() for line in figures.splitlines() if "trim_requests_total{" in line]
    assert sum(float(count) for _, count in lines) >= len(received)


IMPATIENT = f"""
from dataclasses import replace
from trim.cli import serve
from trim.server import workers
workers.SILENCE = workers.FLUSH_SECONDS = 5
serve.DEFAULTS = replace(serve.DEFAULTS, shutdown=1)
{MAIN}
"""


@needs_proc
@pytest.mark.soak
async def test_a_worker_that_hangs_is_replaced_and_does_not_hold_up_the_end(tmp_path):
    address = str(tmp_path / "trim.sqlite")
    async with (
        serving(address, "--workers", 2, code=IMPATIENT) as (process, url, said),
        httpx.AsyncClient(timeout=LIMIT) as client,
    ):
        before = workers_of(process.pid)
        os.kill(before[0], signal.SIGSTOP)
        await until(lambda: set(workers_of(process.pid)) - set(before))
        for _ in range(4):
            answer, _ = await ask(client, url, random.Random(7))
            assert answer.status_code == 200
        os.kill(before[1], signal.SIGSTOP)
        process.terminate()
    lines = said.result().decode().splitlines()
    replaced = f"trim: worker {before[0]} is replaced: gave no sign of life for 5 s"
    assert [line for line in lines if "replaced" in line] == [replaced]


async def test_two_machines_keep_one_budget(address):
    budget = 1200
    key = await key_for(address, strong_tokens_a_day=budget)
    headers = {"Authorization": f"Bearer {key}"}
    chance, received = random.Random(6), {}

    async def ask_until_spent(client, url):
        while True:
            answer, spent = await ask(client, url, chance, model="trim:strong")
            if answer.status_code == 429:
                if answer.json()["error"]["code"] == "budget_reserved":
                    await asyncio.sleep(0.05)
                    continue
                assert answer.json()["error"]["code"] == "insufficient_quota"
                return url
            assert answer.status_code == 200, answer.text
            received.update([spent])

    async with (
        serving(address) as (_, one, _),
        serving(address) as (_, other, _),
        httpx.AsyncClient(timeout=LIMIT, headers=headers) as client,
    ):
        refused = await asyncio.gather(
            *(ask_until_spent(client, url) for url in (one, other) for _ in range(3))
        )
    assert Counter(refused) == {one: 3, other: 3}
    on_disk, (_, spent) = await kept(address)
    assert on_disk == received
    assert sum(tokens for tokens, _ in received.values()) == spent
    largest = max(tokens for tokens, _ in received.values())
    assert budget <= spent <= budget + 6 * largest < 2 * budget


async def test_workers_finish_their_answers_before_they_end(tmp_path):
    async with staged(writing, delay=0.3) as server:
        words = (configured(tmp_path, server), "--workers", 2)
        async with serving(str(tmp_path / "trim.sqlite"), *words) as (process, url, said):
            client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
            streams = [
                await client.chat.completions.create(**asked(f"question {n}"), stream=True)
                for n in range(4)
            ]
            process.send_signal(signal.SIGINT)
            for n, stream in enumerate(streams):
                *pieces, last = [piece async for piece in stream]
                assert last.choices[0].finish_reason == "stop"
                text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
                assert text.endswith(rf"\boxed{{question {n}}}")
    assert all(json.loads(line)["status"] == 200 for line in said.result().splitlines())


@needs_proc
async def test_workers_end_where_the_process_that_started_them_is_gone(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, "serve", "--workers", "2", "--port", "0",
        "--database", str(tmp_path / "trim.sqlite"), stderr=asyncio.subprocess.PIPE,
        # What a killed process leaves there.
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    await asyncio.wait_for(process.stderr.readline(), LIMIT)
    assert len(workers_of(process.pid)) == 2
    process.kill()
    await process.wait()
    # The pipe is closed when the last process that holds it has ended.
    assert await asyncio.wait_for(process.stderr.read(), LIMIT) == b""


async def test_workers_that_cannot_begin_are_one_line(tmp_path):
    for name in ("weak", "strong", "scorer"):
        (tmp_path / f"{name}.gguf").write_bytes(b"none")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, "serve", "--workers", "2", "--port", "0", "--models", tmp_path,
        "--database", str(tmp_path / "trim.sqlite"), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 2
    (line,) = errors.decode().splitlines()
    assert line.startswith(f"trim: {tmp_path}/")
