"""Writes requests and what they cost, before their answers are complete."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.models.response import REPLACEMENT, encodable
from trim.server.errors import APIError
from trim.server.storage.database import DATABASE_ERRORS, Transactions, database_unavailable
from trim.server.storage.ledger import SETTLE
from trim.server.storage.tables import requests, spending, steps

BATCH = 256
"""Largest number of entries in a transaction."""
LARGEST = 10**12
"""Largest number in a row: sums over millions of rows fit the database's integers."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A finished request.

    Attributes:
        request: a row of `requests`.
        steps: its rows of `steps`.
        day: the day whose budget it counts for, in UTC.
        reservation: id of the reservation that it settles; None without one.
    """

    request: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    day: str
    reservation: str | None = None


class Recorder:
    """Writes entries in batches, one transaction at a time.

    A batch holds whatever arrived while the one before was committed. Under load one commit serves
    many requests. A batch that fails is written entry by entry, which loses only the entry at
    fault; it is billed all the same.
    """

    def __init__(self, engine: AsyncEngine, transactions: Transactions | None = None) -> None:
        self.transactions = transactions or Transactions(engine)
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._add_spending = upsert_spending(sqlite if self._is_sqlite else postgresql)
        self._queue: list[tuple[Entry, asyncio.Future[None]]] = []
        self._commit: asyncio.Task[list[Exception | None]] | None = None

    def write(self, entry: Entry) -> asyncio.Future[None]:
        """Write an entry, even if nobody waits for it.

        The future is done once the entry is on disk; it fails with APIError where that is not
        possible: 503 without the database, 500 for an entry that it does not take.
        """
        written = asyncio.get_running_loop().create_future()
        self._queue.append((self._storable(entry), written))
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

    def _finish(
        self, futures: Sequence[asyncio.Future[None]], commit: asyncio.Task[list[Exception | None]]
    ) -> None:
        errors = commit.result()
        if failed := [error for error in errors if error]:
            LOG.warning("%d requests could not be recorded", len(failed), exc_info=failed[0])
        for future, error in zip(futures, errors, strict=True):
            if future.done():  # Its client has disconnected.
                continue
            if error:
                future.set_exception(failure_of(error))
            else:
                future.set_result(None)
        self._commit = None
        if self._queue:
            self._start()

    async def _write(self, entries: Sequence[Entry]) -> list[Exception | None]:
        """Write entries; returns the error of each, None for those that are on disk."""
        try:
            await self._insert(entries)
            return [None] * len(entries)
        except Exception as error:
            if is_outage(error):
                return [error] * len(entries)
            if len(entries) == 1:
                return [await self._bill(entries[0], error)]
        errors: list[Exception | None] = []
        for entry in entries:
            errors += await self._write([entry])
            last = errors[-1]
            if last and is_outage(last):
                return errors + [last] * (len(entries) - len(errors))
        return errors

    async def _bill(self, entry: Entry, error: Exception) -> Exception:
        """Write what an entry costs, without the entry; returns the error of the entry."""
        try:
            await self._insert([entry], only_money=True)
        except Exception:
            LOG.warning("what a request has cost could not be recorded either")
        return error

    async def _insert(self, entries: Sequence[Entry], only_money: bool = False) -> None:
        def work(connection: Connection) -> None:
            for statement, rows in self._statements(entries, only_money):
                connection.execute(statement, rows)

        await self.transactions.run(work, immediate=True)

    def _statements(
        self, entries: Sequence[Entry], only_money: bool
    ) -> Iterator[tuple[Insert | Delete, list[dict[str, Any]]]]:
        """Insert requests and steps, add to the spending of their keys, and settle."""
        if not only_money:
            yield insert(requests), [dict(entry.request) for entry in entries]
            if rows := [dict(step) for entry in entries for step in entry.steps]:
                yield insert(steps), rows
        if rows := spending_by_key(entries):
            yield self._add_spending, rows
        if rows := [{"reservation": entry.reservation} for entry in entries if entry.reservation]:
            yield SETTLE, rows

    def _storable(self, entry: Entry) -> Entry:
        """The entry with values that every database takes."""
        nul = not self._is_sqlite  # PostgreSQL's texts cannot hold NUL.
        rows = [storable(step, steps, nul) for step in entry.steps]
        return replace(entry, request=storable(entry.request, requests, nul), steps=rows)


def storable(row: Mapping[str, Any], table: Table, nul: bool) -> dict[str, Any]:
    """A row whose numbers are from 0 to `LARGEST`, and whose texts are valid and fit.

    Args:
        nul: replace NUL as well.
    """
    return {name: storable_value(value, table.c[name], nul) for name, value in row.items()}


def storable_value(value: Any, column: Any, nul: bool) -> Any:
    if isinstance(value, str):
        text = encodable(value)
        text = text.replace("\0", REPLACEMENT) if nul else text
        return text[: column.type.length]
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, 0), LARGEST)
    if isinstance(value, float):
        if math.isfinite(value):
            return min(max(value, 0.0), float(LARGEST))
        return None if column.nullable else float(LARGEST) if value > 0 else 0.0
    return value


def spending_by_key(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Rows of `spending`, one for each key and day.

    They are sorted, because processes that update rows in different orders could deadlock.
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


def is_outage(error: Exception) -> bool:
    """Whether an error is the database's, rather than that of an entry."""
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, OperationalError | InterfaceError | TimeoutError | OSError)


def failure_of(error: Exception) -> APIError:
    """The exception for the client whose entry was not written."""
    if isinstance(error, DATABASE_ERRORS):
        failure = database_unavailable()
    else:
        failure = APIError(
            500, "the request could not be recorded; see the server log", "server_error"
        )
    failure.__cause__ = error
    return failure
