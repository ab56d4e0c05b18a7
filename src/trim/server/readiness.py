"""Whether a process can answer requests and record them."""

from __future__ import annotations

import asyncio
import errno
import tempfile
import time
from pathlib import Path

from sqlalchemy.engine import URL

from trim.server.service import Service

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk on which nothing can be recorded."""
ROOM = 2**20
"""Bytes that must fit on the disk of the database."""
PROBE_SECONDS = 1.0
"""Seconds between two writes to the disk, since anybody may ask."""


class Readiness:
    """Finds out what keeps a process from answering.

    Create it once the database is open.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.path = file_of(service.accounts.engine.url)
        self.file = self._identity()
        self._probed: tuple[float, bool] | None = None
        self._probing = asyncio.Lock()

    async def silent(self) -> list[str]:
        """The parts that do not answer, or cannot record."""
        silent = self.service.unreachable()
        if self._identity() != self.file:
            # Open connections still write to the old file, new ones would create an empty one.
            silent.append("the database (its file was deleted or replaced; restart the server)")
        elif not await self.service.accounts.reachable():
            silent.append("the database")
        elif self.path and not await self._has_room(self.path.parent):
            silent.append("the disk of the database")
        return silent

    async def _has_room(self, folder: Path) -> bool:
        async with self._probing:
            now = time.monotonic()
            if self._probed is None or now - self._probed[0] > PROBE_SECONDS:
                self._probed = (now, await asyncio.to_thread(has_room, folder))
            return self._probed[1]

    def _identity(self) -> tuple[int, int] | None:
        """Device and number of the file; None without one."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


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
