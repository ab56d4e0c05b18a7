"""A database that is there, and has all its tables."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    ClauseElement,
    Connection,
    Engine,
    PoolProxiedConnection,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trim.errors import InvalidInput
from trim.server.errors import APIError

FAULTS = (SQLAlchemyError, sqlite3.Error, OSError)
"""SQLAlchemy's, those of SQLite's driver where it is asked itself, and those of the network."""

LOG = logging.getLogger(__name__)


def no_database() -> APIError:
    return APIError(
        503,
        "the server's database cannot be used now; ask again later",
        "server_error",
        "database_unavailable",
        retry_after=5,
    )


@contextmanager
def faults_told() -> Iterator[None]:
    """Raises Failure (503) where the database cannot be used."""
    try:
        yield
    except FAULTS as error:
        LOG.warning("the database cannot be used", exc_info=error)
        raise no_database() from error


MIGRATIONS = Path(__file__).parent / "migrations"
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
LOCK = 7_126_313
"""Any number: processes that start together migrate PostgreSQL one after the other."""
BUSY = 10.0
"""Seconds that SQLite waits for another process that writes."""
PATIENCE = 30.0
"""Seconds that PostgreSQL may take to connect, and to answer a statement."""


def url_of(address: str) -> str:
    """What SQLAlchemy calls a database: a file of SQLite, or `postgresql://…`.

    Raises:
        InvalidInput: of another kind.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return f"{DRIVERS['sqlite']}:///{address}"
    if scheme not in DRIVERS:
        raise InvalidInput(
            "--database: a file for SQLite, or an address such as postgresql://user@host/name"
        )
    return f"{DRIVERS[scheme]}://{rest}"


async def open_database(address: str, new: bool = True) -> AsyncEngine:
    """Connect, and bring the tables to this version.

    Args:
        address: a file for SQLite, or `postgresql://user@host/name`.
        new: make the file where there is none.

    Raises:
        InvalidInput: it is not there, or cannot be reached or changed. No password is shown.
    """
    url = url_of(address)
    if not (new or "://" in address or Path(address).is_file()):
        raise InvalidInput(
            f"{address}: there is no such database; `trim serve` and `trim keys create` make one"
        )
    try:
        engine = engine_for(url)
    except ArgumentError as error:
        raise InvalidInput(f"--database: no address of a database ({error})") from None
    try:
        if engine.dialect.name == "sqlite":
            prepare(engine.sync_engine)
            # Its asynchronous driver leaves a thread behind where a file cannot be opened.
            await asyncio.to_thread(migrate_file, blocking(engine))
        else:
            await migrate_server(engine)
    except FAULTS as error:
        await engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InvalidInput(f"{shown}: the database cannot be used ({reason})") from error
    return engine


def engine_for(url: str) -> AsyncEngine:
    """Raises ArgumentError where it is no address."""
    if url.startswith(DRIVERS["sqlite"]):
        return create_async_engine(url, hide_parameters=True)
    limits = {"timeout": PATIENCE, "command_timeout": PATIENCE}
    return create_async_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=limits)


def blocking(engine: AsyncEngine) -> Engine:
    """The same SQLite database, for use in a thread."""
    other = create_engine(engine.url.set(drivername="sqlite"), hide_parameters=True)
    prepare(other)
    return other


def prepare(engine: Engine) -> None:
    """SQLite as several processes need it: readers beside a writer, and patience.

    Its driver begins no transaction before tables are made, so that is done here.
    """

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        alone = connection.get_execution_options().get("alone")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if alone else "BEGIN")

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {1000 * BUSY:.0f}",
            "synchronous = NORMAL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def migrate_file(engine: Engine) -> None:
    try:
        write_ahead(engine)
        with engine.execution_options(alone=True).begin() as connection:
            migrate(connection)
    finally:
        engine.dispose()


def write_ahead(engine: Engine) -> None:
    """Have a file kept with a write-ahead log, from now on and for all.

    SQLite does not wait for another process that does so at the same moment.
    """
    deadline = time.monotonic() + BUSY
    with closing(engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


async def migrate_server(engine: AsyncEngine) -> None:
    """Without limits, for a large table takes its time."""
    patient = create_async_engine(engine.url, hide_parameters=True)
    try:
        async with patient.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await patient.dispose()


def migrate(connection: Connection, version: str = "head") -> None:
    """Apply the migrations that are missing up to a version, while no other process does.

    Alembic works on one database at a time in a process.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, version)


Result = TypeVar("Result")


class File:
    """One connection that is kept, in one thread; each transaction is one visit to it.

    The asynchronous driver makes a visit for each call, and SQLAlchemy does more around a statement
    than SQLite for it: a row by its key takes them 0.8 ms, and 0.07 ms here.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = blocking(engine)
        self._thread = ThreadPoolExecutor(1, "database")
        self._kept: PoolProxiedConnection | None = None

    def visit(self, work: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """What `work` returns or raises."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._visit, work)

    def _visit(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._kept is None:
            self._kept = self._engine.raw_connection()
        driver: sqlite3.Connection = self._kept.driver_connection  # type: ignore[assignment]
        return work(driver)

    async def close(self) -> None:
        if self._kept:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._kept.close)
        self._thread.shutdown()
        self._engine.dispose()


@cache
def in_words(statement: ClauseElement, columns: tuple[str, ...] | None = None) -> str:
    """A statement as SQLite's driver takes it, with named values; `columns` are those of rows that
    are inserted."""
    dialect = sqlite.dialect(paramstyle="named")
    return str(statement.compile(dialect=dialect, column_keys=columns))
