"""Reads single rows, for each request anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.database import File, faults_told, in_words

Row = Mapping[str, Any]


class Reader:
    """Reads what is on disk now, whichever process wrote it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._file = File(engine) if engine.dialect.name == "sqlite" else None

    async def row(self, statement: Select[Any], values: Row) -> Row | None:
        """The first row of a statement, by its columns' names; None where there is none.

        Values are those of the database: SQLite has 0 and 1 for a truth value.

        Raises:
            Failure: the database cannot be used (503).
        """
        with faults_told():
            if self._file:
                return await self._file.visit(lambda driver: first(driver, statement, values))
            async with self.engine.connect() as connection:
                row = (await connection.execute(statement, values)).first()
                return None if row is None else row._asdict()

    async def close(self) -> None:
        if self._file:
            await self._file.close()


def first(driver: sqlite3.Connection, statement: Select[Any], values: Row) -> Row | None:
    cursor = driver.execute(in_words(statement), values)
    row = cursor.fetchone()
    names = [column[0] for column in cursor.description]
    # A row that is not fetched would keep the past in sight.
    cursor.close()
    return None if row is None else dict(zip(names, row, strict=True))
