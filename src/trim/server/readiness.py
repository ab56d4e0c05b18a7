"""Whether a process can answer requests and record them."""

from __future__ import annotations

import asyncio
import errno
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy.engine import URL

from trim.server.service import Service

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk on which nothing can be recorded."""
ROOM = 2**20
"""Bytes that must fit on the disk of the database."""
PROBE_SECONDS = 1.0
"""Seconds between two writes to the disk, or two requests to a server: anybody may ask."""


class Readiness:
    """Finds out what keeps a process from answering.

    Create it once the database is open.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.path = file_of(service.accounts.engine.url)
        self.file = self._identity()
        self._disk = Probe()
        self._servers = {server.name: Probe() for server in service.servers}

    async def silent(self) -> list[str]:
        """The parts that do not answer, or cannot record."""
        silent = await self._silent_servers()
        if self._identity() != self.file:
            # Open connections still write to the old file, new ones would create an empty one.
            silent.append("the database (its file was deleted or replaced; restart the server)")
        elif not await self.service.accounts.reachable():
            silent.append("the database")
        elif self.path and not await self._has_room(self.path.parent):
            silent.append("the disk of the database")
        return silent

    async def _silent_servers(self) -> list[str]:
        """Names of model and scorer servers that do not answer, or asked for a long pause.

        One that failed is no longer among them once it answers again: if no request were sent to a
        process that is not ready, nothing would find out whether its servers work.
        """
        failing = [server for server in self.service.servers if not server.available]
        recovering = await asyncio.gather(
            *(self._servers[server.name].result(server.may_recover) for server in failing)
        )
        return [server.name for server, back in zip(failing, recovering, strict=True) if not back]

    async def _has_room(self, folder: Path) -> bool:
        return await self._disk.result(lambda: asyncio.to_thread(has_room, folder))

    def _identity(self) -> tuple[int, int] | None:
        """Device and number of the file; None without one."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class Probe:
    """Finds something out at most once in `PROBE_SECONDS`."""

    def __init__(self) -> None:
        self._found: tuple[float, bool] | None = None
        self._lock = asyncio.Lock()

    async def result(self, find: Callable[[], Awaitable[bool]]) -> bool:
        """What `find` returns or returned."""
        async with self._lock:
            now = time.monotonic()
            if self._found is None or now - self._found[0] > PROBE_SECONDS:
                self._found = (now, await find())
            return self._found[1]


def has_room(folder: Path) -> bool:
    """Whether `ROOM` bytes can be written in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(ROOM))
            probe.flush()
    except OSError as error:
        return error.errno not in FULL
    return True


def file_of(url: URL) -> Path | None:
    """The file of a database; None for a server."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database)).absolute()
