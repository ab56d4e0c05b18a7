"""Writes requests and what they cost, before their answers are complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Insert, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.database import DATABASE_ERRORS, Transactions, database_unavailable
from trim.server.storage.tables import requests, spending, steps

BATCH = 256
"""Largest number of entries in a transaction."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A finished request.

    Attributes:
        request: a row of `requests`.
        steps: its rows of `steps`.
        day: the day whose budget it counts for, in UTC.
    """

    request: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    day: str


class Recorder:
    """Writes entries in batches, one transaction at a time.

    A batch holds whatever arrived while the one before was committed, so that under load one commit
    serves many requests, and a process never competes with itself for SQLite's write lock.
    """

    def __init__(self, engine: AsyncEngine, transactions: Transactions | None = None) -> None:
        self.transactions = transactions or Transactions(engine)
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._add_spending = upsert_spending(sqlite if self._is_sqlite else postgresql)
        self._queue: list[tuple[Entry, asyncio.Future[None]]] = []
        self._commit: asyncio.Task[None] | None = None

    def write(self, entry: Entry) -> asyncio.Future[None]:
        """Write an entry, even if nobody waits for it.

        The future is done once the entry is on disk; it fails with APIError (503) where that is
        not possible.
        """
        written = asyncio.get_running_loop().create_future()
        self._queue.append((entry, written))
        if self._commit is None:
            self._start()
        return written

    async def close(self) -> None:
        """Write what is queued."""
        while self._commit:
            await asyncio.wait([self._commit])

    def _start(self) -> None:
        batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
        entries, futures = zip(*batch, strict=True)
        self._commit = asyncio.create_task(self._write(entries))
        self._commit.add_done_callback(partial(self._finish, futures))

    def _finish(self, futures: Sequence[asyncio.Future[None]], commit: asyncio.Task[None]) -> None:
        error = commit.exception()
        if error:
            LOG.warning("%d requests could not be recorded", len(futures), exc_info=error)
        for future in futures:
            if future.done():  # Its client has disconnected.
                continue
            if error:
                future.set_exception(failure_of(error))
            else:
                future.set_result(None)
        self._commit = None
        if self._queue:
            self._start()

    async def _write(self, entries: Sequence[Entry]) -> None:
        def insert_all(connection: Connection) -> None:
            for statement, rows in self._statements(entries):
                # PostgreSQL's texts cannot hold NUL.
                connection.execute(
                    statement, rows if self._is_sqlite else [without_nul(row) for row in rows]
                )

        await self.transactions.run(insert_all, immediate=True)

    def _statements(
        self, entries: Sequence[Entry]
    ) -> Iterator[tuple[Insert, list[dict[str, Any]]]]:
        """Insert requests and steps, and add to the spending of their keys."""
        yield insert(requests), [dict(entry.request) for entry in entries]
        if rows := [dict(step) for entry in entries for step in entry.steps]:
            yield insert(steps), rows
        if rows := spending_by_key(entries):
            yield self._add_spending, rows


def spending_by_key(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Rows of `spending`, one for each key and day.

    They are sorted, so that processes that update the same rows do not deadlock.
    """
    sums: dict[tuple[int, str], list[float]] = {}
    for entry in entries:
        if entry.request["key_id"] is not None:
            total = sums.setdefault((entry.request["key_id"], entry.day), [0.0, 0])
            total[0] += entry.request["money"]
            total[1] += entry.request["strong_tokens"]
    return [
        {"key_id": key_id, "day": day, "money": money, "strong_tokens": int(tokens)}
        for (key_id, day), (money, tokens) in sorted(sums.items())
    ]


def upsert_spending(dialect: Any) -> Insert:
    """A dialect's statement that adds to the row of a key and day, or inserts it."""
    added = dialect.insert(spending)
    return added.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=[spending.c.key_id, spending.c.day],
        set_={
            "money": spending.c.money + added.excluded.money,
            "strong_tokens": spending.c.strong_tokens + added.excluded.strong_tokens,
        },
    )


def without_nul(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
        for name, value in row.items()
    }


def failure_of(error: BaseException) -> BaseException:
    """The exception for the client whose entry was not written."""
    if not isinstance(error, DATABASE_ERRORS):
        return error
    failure = database_unavailable()
    failure.__cause__ = error
    return failure
