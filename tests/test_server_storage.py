"""Keys, budgets and traffic, in real databases: SQLite, and PostgreSQL where it is installed."""

import asyncio
import json
import re
import secrets
import subprocess
import sys
from dataclasses import replace

import pytest
from preloaded import FORKING, PATIENCE
from sqlalchemy import func, select

from trim.errors import InvalidInput
from trim.server.errors import APIError
from trim.server.storage import ledger as ledgers
from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys
from trim.server.storage.ledger import Amount, Ledger, seconds_to_midnight, today
from trim.server.storage.recorder import Entry, Recorder
from trim.server.storage.tables import keys, metadata, requests, spending, steps
from trim.server.storage.traffic import delete_traffic


def entry(key_id=None, money=0.5, strong=7, number=0, day=None):
    name = secrets.token_hex(8)
    return Entry(
        {
            "id": name, "key_id": key_id, "created": 1.0, "seconds": 0.25, "model": "trim",
            "policy": "thr:0.5", "stream": False, "finish": "answer", "strong_tokens": strong,
            "middle_tokens": 0, "weak_tokens": 3, "discarded_tokens": 1, "scorer_tokens": 9,
            "money": money, "failure": None, "question": None, "answer": None,
        },
        [
            {
                "request_id": name, "choice": 0, "number": place, "author": "weak",
                "action": "continue", "score": 0.75, "tokens": 3, "draft_tokens": 3,
                "strong_tokens": 0, "fallback": None, "text": None, "draft": None,
            }
            for place in range(number)
        ],
        day or today(),
    )  # fmt: skip


async def count(engine, table):
    async with engine.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def test_the_migrations_make_the_tables(engine):
    def columns(connection):
        from sqlalchemy import inspect

        found = inspect(connection)
        return {
            name: {column["name"] for column in found.get_columns(name)}
            for name in found.get_table_names()
            if name != "alembic_version"
        }

    async with engine.connect() as connection:
        found = await connection.run_sync(columns)
    assert found == {table.name: set(table.columns.keys()) for table in metadata.tables.values()}


def together(work, count, *arguments):
    """Processes that do the same at the same time, each of which succeeds."""
    processes = [FORKING.Process(target=work, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0


def open_once(address):
    async def main():
        await (await open_database(address)).dispose()

    asyncio.run(main())


async def test_many_processes_may_open_a_new_database_together(address):
    await asyncio.to_thread(together, open_once, 4, address)
    again = await open_database(address)
    assert await count(again, keys) == 0
    await again.dispose()


AT_ONCE = """
import multiprocessing, sys
from pathlib import Path
from sqlalchemy import create_engine
from trim.server.storage.database import enable_wal, prepare

FORK = multiprocessing.get_context("fork")

def open_file(path, together):
    engine = create_engine(f"sqlite:///{path}")
    prepare(engine)
    together.wait()
    enable_wal(engine)
    with engine.execution_options(immediate=True).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (x)")
    engine.dispose()

for number in range(40):
    arguments = (Path(sys.argv[1]) / f"{number}.sqlite", FORK.Barrier(3))
    processes = [FORK.Process(target=open_file, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
"""


def test_a_new_file_may_be_opened_by_all_at_the_same_moment(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, tmp_path], timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


async def test_a_key_is_shown_once_and_found_by_itself_only(engine):
    store = Keys(engine)
    shown = await store.create("app", money_a_day=2.5)
    other = await store.create("batch", strong_tokens_a_day=1000)
    assert (await store.find(shown)).name == "app"
    assert (await store.find(other)).strong_tokens_a_day == 1000
    for wrong in (shown[:-1], shown + "x", shown.replace("trim-", ""), "", "trim-", "trim--", "é",
                  f"trim-{shown.split('-')[1]}-{other.split('-', 2)[2]}"):  # fmt: skip
        assert await store.find(wrong) is None
    async with engine.connect() as connection:
        kept = [dict(row._mapping) for row in await connection.execute(select(keys))]
    assert shown.split("-", 2)[2] not in json.dumps(kept)
    assert shown not in repr(await store.all())
    await store.revoke("app")
    assert await store.find(shown) is None
    assert [(key.name, key.revoked is None) for key in await store.all()] == [
        ("app", False),
        ("batch", True),
    ]


async def test_what_is_wrong_with_a_key_is_said_in_a_line(engine):
    store = Keys(engine)
    await store.create("app")
    for attempt, message in (
        (store.create("app"), "name is taken"),
        (store.create(" "), "1 to 100 printable characters"),
        (store.create("x", money_a_day=-1.0), "from 0 up"),
        (store.create("x", money_a_day=float("nan")), "from 0 up"),
        (store.revoke("nobody"), "no valid key"),
    ):
        with pytest.raises(InvalidInput, match=message):
            await attempt
    assert await count(engine, keys) == 1


async def test_what_was_written_is_there_and_adds_up(engine):
    store, recorder = Keys(engine), Recorder(engine)
    key = await store.find(await store.create("app"))
    await asyncio.gather(*(recorder.write(entry(key.id, 0.25, 3, number)) for number in range(300)))
    await recorder.write(entry(None))
    assert await count(engine, requests) == 301
    assert await count(engine, steps) == sum(range(300))
    assert await Ledger(engine).spent(key) == (75.0, 900)
    await recorder.close()


async def test_what_cannot_be_written_is_told_to_whom_it_belongs(engine, caplog):
    recorder = Recorder(engine)
    twice = entry()
    await recorder.write(twice)
    with pytest.raises(APIError, match="not available") as told:
        await recorder.write(twice)
    assert re.search("(?i)unique|duplicate", str(told.value.__cause__))
    await recorder.write(entry())
    assert await count(engine, requests) == 2
    caplog.clear()
    recorder.write(twice).cancel()  # Nobody is there to be told.
    kept = recorder.write(entry())
    kept.cancel()
    await recorder.close()
    assert "1 requests could not be recorded" in caplog.text
    assert await count(engine, requests) == 3


async def test_any_text_can_be_kept(engine):
    recorder, made = Recorder(engine), entry(number=1)
    told = "a\0b\ufffe\U0001f600"
    made = replace(made, request={**made.request, "question": told})
    await asyncio.gather(recorder.write(made), recorder.write(entry()))
    async with engine.connect() as connection:
        kept = (await connection.execute(select(requests.c.question))).scalars().all()
    as_kept = told if engine.dialect.name == "sqlite" else told.replace("\0", "\ufffd")
    assert set(kept) == {as_kept, None}
    await recorder.close()


async def test_a_budget_is_of_a_day_and_says_when_it_begins_again(engine, monkeypatch):
    store, recorder, ledger = Keys(engine), Recorder(engine), Ledger(engine)
    await ledger.beat()

    async def left_of(key):
        made = await ledger.reserve(key, Amount(0.0, 0), 60.0, 9)
        await ledger.release(made)
        return made.left

    for name, budget, left in (
        ("money", {"money_a_day": 1.0}, (0.5, float("inf"))),
        ("tokens", {"strong_tokens_a_day": 10}, (float("inf"), 3)),
        ("free", {}, (float("inf"), float("inf"))),
    ):
        key = await store.find(await store.create(name, **budget))
        await recorder.write(entry(key.id))
        now = await left_of(key)
        assert (now.money, now.strong_tokens) == left
        await recorder.write(entry(key.id))
        if budget:
            with pytest.raises(APIError, match="has spent its") as refused:
                await left_of(key)
            assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
            assert 0 < refused.value.retry_after <= 24 * 3600
            with monkeypatch.context() as patched:
                patched.setattr(ledgers, "today", lambda: "2099-01-01")
                await left_of(key)
    assert 0 < seconds_to_midnight() <= 24 * 3600
    await recorder.close()


async def test_traffic_is_deleted_and_spending_stays(engine):
    store, recorder = Keys(engine), Recorder(engine)
    key = await store.find(await store.create("app"))
    for created, owner in ((100.0, key.id), (200.0, key.id), (100.0, None)):
        made = entry(owner, number=2)
        await recorder.write(replace(made, request={**made.request, "created": created}))
    assert await delete_traffic(engine, 150.0, "app") == 1
    assert (await count(engine, requests), await count(engine, steps)) == (2, 4)
    assert await delete_traffic(engine, 150.0) == 1
    assert await delete_traffic(engine, 150.0) == 0
    assert await Ledger(engine).spent(key) == (1.0, 14)
    with pytest.raises(InvalidInput, match="no such key"):
        await delete_traffic(engine, 150.0, "nobody")
    await recorder.close()


def write_hundred(address, key):
    async def main():
        engine = await open_database(address)
        recorder = Recorder(engine)
        await asyncio.gather(*(recorder.write(entry(key, 0.25, 3, 2)) for _ in range(100)))
        await recorder.close()
        await engine.dispose()

    asyncio.run(main())


async def test_processes_on_one_database_lose_nothing(engine, address):
    store = Keys(engine)
    key = await store.find(await store.create("app"))
    await asyncio.to_thread(together, write_hundred, 3, address, key.id)
    assert await Ledger(engine).spent(key) == (75.0, 900)
    assert await count(engine, requests) == 300
    assert await count(engine, spending) == 1


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("mysql://host/name", "a file for SQLite, or an address"),
        ("postgresql://someone:secret@127.0.0.1:1/none", "cannot be used"),
        ("/nowhere/at/all/trim.sqlite", "cannot be used"),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_without_its_password(wrong, message):
    with pytest.raises(InvalidInput, match=message) as told:
        await open_database(wrong)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)
