"""Who is served now, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from trim.server.errors import APIError


@dataclass(frozen=True)
class Limits:
    """Each with the status that answers what is beyond.

    Attributes:
        body: bytes of a request (413).
        upload: seconds in which the head of a request must have come (or the connection ends),
            and after it the body (408).
        stalled: seconds in which a client must take what waits for it (or the connection ends).
        prompt: characters of all messages together (400).
        running: solutions under way together; the others wait in the queue.
        queue: solutions that wait (503 beyond, with Retry-After).
        seconds: for one answer, waiting included; a request may ask for less.
        shutdown: seconds in which answers under way may be finished when the server stops.
    """

    body: int = 1_000_000
    upload: float = 30.0
    stalled: float = 60.0
    prompt: int = 100_000
    running: int = 64
    queue: int = 512
    seconds: float = 600.0
    shutdown: float = 30.0


OVERLOADED = "the server has as many requests as it can take; ask again later"


class AdmissionQueue:
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
            raise APIError(503, OVERLOADED, "server_error", "overloaded", retry_after=1)

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
