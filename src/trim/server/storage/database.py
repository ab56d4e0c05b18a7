"""Connecting to the database and bringing its tables up to date."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trim.errors import InvalidInput
from trim.files import require_name
from trim.server.errors import APIError

# UnicodeDecodeError: sqlite3 raises it where SQLite's message quotes bytes of a damaged file.
DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, UnicodeDecodeError)
MIGRATIONS = Path(__file__).parent / "migrations"
DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
MIGRATION_LOCK = 7_126_313
"""Key of the advisory lock under which processes migrate PostgreSQL one after the other."""
BUSY_TIMEOUT = 10.0
"""Seconds that SQLite waits for another process that is writing."""
SERVER_TIMEOUT = 30.0
"""Seconds that PostgreSQL may take to connect, and to answer a statement."""

Result = TypeVar("Result")
LOG = logging.getLogger(__name__)


def database_unavailable() -> APIError:
    return APIError(
        503,
        "the server's database is not available; try again later",
        "server_error",
        "database_unavailable",
        retry_after=5,
    )


@contextmanager
def reporting_unavailable() -> Iterator[None]:
    """Log an error of the database and raise APIError (503) in its place."""
    try:
        yield
    except DATABASE_ERRORS as error:
        LOG.warning("the database is not available", exc_info=error)
        raise database_unavailable() from error


def url_of(address: str) -> str:
    """SQLAlchemy's URL of a database: a file of SQLite, or `postgresql://…`.

    Raises:
        InvalidInput: another kind of address.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return f"{DRIVERS['sqlite']}:///{address}"
    if scheme not in DRIVERS:
        raise InvalidInput(
            "--database: expected a file for SQLite, or an address such as"
            " postgresql://user@host/name"
        )
    # As libpq names it, and with it the addresses of hosted databases.
    return f"{DRIVERS[scheme]}://{re.sub(r'(?<=[?&])sslmode=', 'ssl=', rest)}"


async def open_database(address: str, new: bool = True) -> AsyncEngine:
    """Connect and migrate the tables to this version.

    Args:
        address: a file for SQLite, or `postgresql://user@host/name`.
        new: create the file if it is missing.

    Raises:
        InvalidInput: it does not exist, or cannot be reached or migrated. The message shows no
            password.
    """
    url = url_of(address)
    if "://" not in address:
        file = require_name(Path(address))
        if not (file.is_file() or (new and not file.exists())):
            reason = "not a regular file" if file.exists() else "no such database"
            raise InvalidInput(
                f"{address}: {reason}; `trim serve` and `trim keys create` create one"
            )
    try:
        engine = engine_for(url)
    except ArgumentError as error:
        raise InvalidInput(f"--database: not the address of a database ({error})") from None
    try:
        if engine.dialect.name == "sqlite":
            protect(engine.url.database)
            prepare(engine.sync_engine)
            # Its asynchronous driver leaks a thread when a file cannot be opened.
            await asyncio.to_thread(migrate_file, synchronous(engine))
        else:
            await migrate_server(engine)
    except TypeError as error:  # the driver takes the options as arguments
        await engine.dispose()
        raise InvalidInput(f"--database: an unknown option in the address ({error})") from error
    except CommandError as error:
        await engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise InvalidInput(
            f"{shown}: of another version of trim, or damaged; use the version that wrote it"
        ) from error
    except DATABASE_ERRORS as error:
        await engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise InvalidInput(f"{shown}: the database cannot be used ({reason})") from error
    return engine


SIDE_FILES = ("", "-wal", "-shm", "-journal")
GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def protect(name: str | None) -> None:
    """Let only the owner read a database and the files that SQLite keeps beside it.

    SQLite gives these the permissions of the database. A database that its group may write is
    meant to be shared, and is kept from others only.

    Args:
        name: of the file, which is created if it is missing.

    Raises:
        OSError: it cannot be created.
    """
    if not name or name == ":memory:" or name.startswith("file:"):
        return
    os.close(os.open(name, os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK, 0o600))
    for path in (Path(name + suffix) for suffix in SIDE_FILES):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            closed = mode & ~(stat.S_IRWXO if mode & stat.S_IWGRP else GROUP_OR_OTHERS)
            if closed != mode:
                path.chmod(closed)
                LOG.warning("%s: its permissions were %o, and are now %o", path, mode, closed)
        except OSError:
            continue  # missing, or another user's


def engine_for(url: str) -> AsyncEngine:
    """Raises ArgumentError for a malformed URL."""
    if url.startswith(DRIVERS["sqlite"]):
        return create_async_engine(url, hide_parameters=True)
    timeouts = {"timeout": SERVER_TIMEOUT, "command_timeout": SERVER_TIMEOUT}
    return create_async_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=timeouts)


class Transactions:
    """Runs short transactions of requests.

    Those of SQLite run in a thread each. Its asynchronous driver hands every call to a thread; with
    100 streams these waits for Python's lock add up to a fifth of a second for a transaction.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._blocking = synchronous(engine) if engine.dialect.name == "sqlite" else None
        # Waiting for SQLite's own lock means sleeping.
        self._writing = asyncio.Lock()

    async def run(self, work: Callable[[Connection], Result], immediate: bool = False) -> Result:
        """The result of `work`, within one transaction.

        Args:
            immediate: take SQLite's write lock at the start.
        """
        if self._blocking:
            async with self._writing if immediate else nullcontext():
                return await asyncio.to_thread(self._run, self._blocking, work, immediate)
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)

    @staticmethod
    def _run(engine: Engine, work: Callable[[Connection], Result], immediate: bool) -> Result:
        with engine.execution_options(immediate=immediate).begin() as connection:
            return work(connection)

    def close(self) -> None:
        if self._blocking:
            self._blocking.dispose()


def synchronous(engine: AsyncEngine) -> Engine:
    """The same SQLite database with the blocking driver."""
    other = create_engine(engine.url.set(drivername="sqlite"), hide_parameters=True)
    prepare(other)
    return other


def prepare(engine: Engine) -> None:
    """Configure SQLite for several processes: readers beside a writer, which waits for its turn.

    Python's driver opens no transaction before DDL, so the engine begins each one itself; with the
    execution option `immediate` it takes the write lock at once.
    """

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {1000 * BUSY_TIMEOUT:.0f}",
            "synchronous = NORMAL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def migrate_file(engine: Engine) -> None:
    try:
        enable_wal(engine)
        with engine.execution_options(immediate=True).begin() as connection:
            migrate(connection)
    finally:
        engine.dispose()


def enable_wal(engine: Engine) -> None:
    """Switch a file to write-ahead logging, permanently.

    SQLite's busy timeout does not cover two processes that switch at the same moment.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
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
    """Without timeouts, because migrating a large table takes long."""
    unlimited = create_async_engine(engine.url, hide_parameters=True)
    try:
        async with unlimited.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await unlimited.dispose()


def migrate(connection: Connection, version: str = "head") -> None:
    """Apply missing migrations up to a version while no other process does.

    Alembic handles one database at a time per process.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, version)
