"""Writes what was answered and what it cost, before the answer is complete."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Insert, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.database import FAULTS, File, in_words, no_database
from trim.server.storage.tables import requests, spending, steps

TOGETHER = 256
"""Records that one transaction takes at most."""
INSERT_REQUESTS, INSERT_STEPS = insert(requests), insert(steps)

LOG = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


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

    So a commit serves as many requests as have come during the one before.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._file = File(engine) if engine.dialect.name == "sqlite" else None
        self._add_spending = adding(sqlite if self._file else postgresql)
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._commit: asyncio.Future[None] | None = None

    def write(self, entry: Entry) -> asyncio.Future[None]:
        """Keep an entry, whether or not anybody waits for it.

        The future is done when it is on disk; it has a Failure (503) where it cannot be.
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
        if self._file:
            await self._file.close()

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        entries = [entry for entry, _ in batch]
        if self._file:
            self._commit = self._file.visit(partial(self._to_file, entries))
        else:
            self._commit = asyncio.create_task(self._to_server(entries))
        self._commit.add_done_callback(partial(self._end, [done for _, done in batch]))

    def _end(self, waiters: Sequence[asyncio.Future[None]], commit: asyncio.Future[None]) -> None:
        error = commit.exception()
        if error:
            LOG.warning("%d requests could not be kept", len(waiters), exc_info=error)
        for done in waiters:
            if done.done():  # Who waited has left.
                continue
            if error:
                done.set_exception(failure_of(error))
            else:
                done.set_result(None)
        self._commit = None
        if self._waiting:
            self._begin()

    def _to_file(self, entries: Sequence[Entry], driver: sqlite3.Connection) -> None:
        with driver:
            driver.execute("BEGIN IMMEDIATE")
            for statement, rows in self._statements(entries):
                driver.executemany(in_words(statement, tuple(rows[0])), rows)

    async def _to_server(self, entries: Sequence[Entry]) -> None:
        async with self.engine.begin() as connection:
            for statement, rows in self._statements(entries):
                await connection.execute(statement, [without_nul(row) for row in rows])

    def _statements(self, entries: Sequence[Entry]) -> Iterator[tuple[Insert, Rows]]:
        """What adds requests and steps, and adds to what their keys have spent."""
        yield INSERT_REQUESTS, [dict(entry.request) for entry in entries]
        if rows := [dict(step) for entry in entries for step in entry.steps]:
            yield INSERT_STEPS, rows
        if rows := spent_by_key(entries):
            yield self._add_spending, rows


def spent_by_key(entries: Sequence[Entry]) -> Rows:
    """One row of `spending` for each key and day.

    In one order, so that processes never wait for each other in a circle.
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


def adding(dialect: Any) -> Insert:
    """A dialect's statement that adds to the row of a key and day, made where it is missing."""
    added = dialect.insert(spending)
    return added.on_conflict_do_update(  # type: ignore[no-any-return]
        index_elements=[spending.c.key_id, spending.c.day],
        set_={
            "money": spending.c.money + added.excluded.money,
            "strong_tokens": spending.c.strong_tokens + added.excluded.strong_tokens,
        },
    )


def without_nul(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as PostgreSQL takes it: its texts hold no NUL."""
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
        for name, value in row.items()
    }


def failure_of(error: BaseException) -> BaseException:
    """What who waited is told."""
    if not isinstance(error, FAULTS):
        return error
    failure = no_database()
    failure.__cause__ = error
    return failure
