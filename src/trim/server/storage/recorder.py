"""Writes what was answered and what it cost, before the answer is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.database import blocking
from trim.server.storage.tables import requests, spending, steps

TOGETHER = 256
"""Records that one transaction takes at most."""


@dataclass(frozen=True)
class Entry:
    """One answered request.

    Attributes:
        request: a row of `requests`.
        steps: its rows of `steps`.
        day: on which it is spent, in UTC.
    """

    request: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    day: str


class Recorder:
    """Writes for all requests in one transaction after the other: all that waits goes into one.

    So a commit serves as many requests as have come during the one before. A transaction of SQLite
    is one visit to a thread, with a connection that is kept: its asynchronous driver makes a visit
    for each call, and takes six times as long.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._file = blocking(engine) if engine.dialect.name == "sqlite" else None
        self._kept: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "recorder")
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._commit: asyncio.Future[None] | None = None

    def write(self, entry: Entry) -> asyncio.Future[None]:
        """Keep an entry, whether or not anybody waits for it.

        The future is done when it is on disk; it has what the database raises where it cannot be.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._commit is None:
            self._begin()
        return done

    async def close(self) -> None:
        """Write what waits, and stop."""
        while self._commit:
            await asyncio.wait([self._commit])
        if self._kept:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._kept.close)
        self._thread.shutdown()
        if self._file:
            self._file.dispose()

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        entries = [entry for entry, _ in batch]
        if self._file:
            loop = asyncio.get_running_loop()
            self._commit = loop.run_in_executor(self._thread, self._to_file, self._file, entries)
        else:
            self._commit = asyncio.create_task(self._to_server(entries))
        self._commit.add_done_callback(partial(self._end, [done for _, done in batch]))

    def _end(self, waiters: Sequence[asyncio.Future[None]], commit: asyncio.Future[None]) -> None:
        error = commit.exception()
        for done in waiters:
            if done.done():  # Who waited has left.
                continue
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)
        self._commit = None
        if self._waiting:
            self._begin()

    def _to_file(self, file: Engine, entries: Sequence[Entry]) -> None:
        if self._kept is None or self._kept.invalidated:
            self._kept = file.connect()
        with self._kept.begin():
            keep(self._kept, entries)

    async def _to_server(self, entries: Sequence[Entry]) -> None:
        async with self.engine.begin() as connection:
            await connection.run_sync(keep, entries)


def keep(connection: Connection, entries: Sequence[Entry]) -> None:
    """Insert requests and steps, and add to what their keys have spent."""
    add(connection, requests, [dict(entry.request) for entry in entries])
    if rows := [dict(step) for entry in entries for step in entry.steps]:
        add(connection, steps, rows)
    sums: dict[tuple[int, str], list[float]] = {}
    for entry in entries:
        if entry.request["key_id"] is not None:
            total = sums.setdefault((entry.request["key_id"], entry.day), [0.0, 0])
            total[0] += entry.request["money"]
            total[1] += entry.request["strong_tokens"]
    # In one order, so that processes never wait for each other in a circle.
    for (key_id, day), (money, tokens) in sorted(sums.items()):
        add_spending(connection, key_id, day, money, int(tokens))


def add(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows that name the same columns."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(insertion(table, tuple(rows[0])), rows)
    else:
        connection.execute(insert(table), rows)


@cache
def insertion(table: Table, columns: tuple[str, ...]) -> str:
    """The statement in SQLite's words: what SQLAlchemy does around it takes longer than SQLite."""
    dialect = sqlite.dialect(paramstyle="named")
    return str(insert(table).compile(dialect=dialect, column_keys=columns))


def add_spending(connection: Connection, key_id: int, day: str, money: float, tokens: int) -> None:
    """Add to the row of a key and day, made where it is missing."""
    row = {"key_id": key_id, "day": day, "money": money, "strong_tokens": tokens}
    dialects: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    added = dialects[connection.dialect.name](spending).values(row)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=[spending.c.key_id, spending.c.day],
            set_={
                "money": spending.c.money + added.excluded.money,
                "strong_tokens": spending.c.strong_tokens + added.excluded.strong_tokens,
            },
        )
    )
