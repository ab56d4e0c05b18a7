"""Who is served now, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from trim.server.failure import Failure
from trim.server.limits import Limits

OVERLOADED = "the server has as many requests as it can take; ask again later"


class Desk:
    """Lets so many solutions run together, and others wait in the order in which they came.

    Args:
        show: told how many run and wait whenever that changes.

    Attributes:
        running, waiting: solutions, now.
    """

    def __init__(
        self, limits: Limits, show: Callable[[int, int], None] = lambda running, waiting: None
    ) -> None:
        self.limits = limits
        self.show = show
        self.running = 0
        self.waiting = 0
        self._turns = asyncio.Semaphore(limits.running)

    def admit(self, count: int) -> None:
        """Raises Failure where so many more do not fit in."""
        held = self.running + self.waiting
        if held + count > self.limits.running + self.limits.queue:
            raise Failure(503, OVERLOADED, "server_error", "overloaded", retry_after=1)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Within it, one solution runs; it is told whether it had to wait."""
        waits = self._turns.locked()
        self._count(waiting=1)
        try:
            await self._turns.acquire()
        finally:
            self._count(waiting=-1)
        self._count(running=1)
        try:
            yield waits
        finally:
            self._count(running=-1)
            self._turns.release()

    def _count(self, running: int = 0, waiting: int = 0) -> None:
        self.running += running
        self.waiting += waiting
        self.show(self.running, self.waiting)
