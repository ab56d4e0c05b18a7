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
VALID_SECONDS = 1.0
"""How long a result is given again, since anybody may ask for it."""


class Readiness:
    """Finds out what keeps a process from answering.

    Create it once the database is open.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.path = file_of(service.accounts.engine.url)
        self.file = self._identity()
        self._known: tuple[float, list[str]] | None = None
        self._lock = asyncio.Lock()

    async def silent(self) -> list[str]:
        """The parts that do not answer, or cannot record."""
        async with self._lock:
            now = time.monotonic()
            if self._known is None or now - self._known[0] > VALID_SECONDS:
                self._known = (now, await self._find())
            return self._known[1]

    async def _find(self) -> list[str]:
        silent = self.service.unreachable()
        if not await self.service.accounts.reachable():
            silent.append("the database")
        elif problem := await asyncio.to_thread(self._problem_of_file):
            silent.append(problem)
        return silent

    def _problem_of_file(self) -> str | None:
        if self.path is None:
            return None
        if self._identity() != self.file:
            # Open connections still write to the old file, new ones would create an empty one.
            return "the database (its file was deleted or replaced; restart the server)"
        try:
            with tempfile.TemporaryFile(dir=self.path.parent) as probe:
                probe.write(bytes(ROOM))
                probe.flush()
        except OSError as error:
            if error.errno in FULL:
                return "the disk of the database"
        return None

    def _identity(self) -> tuple[int, int] | None:
        """Device and number of the file; None without one."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def file_of(url: URL) -> Path | None:
    """The file of a database; None for a server."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database)).absolute()
