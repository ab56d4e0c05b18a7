"""Limits of the server, and the queue of solutions that wait for a slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from trim.server.errors import APIError


@dataclass(frozen=True)
class Limits:
    """Limits on requests, with the status of a response beyond them.

    Attributes:
        body: bytes of a request (413).
        upload: seconds for the head of a request to arrive (or the connection is closed), and then
            for the body (408).
        stalled: seconds for a client to read what was sent (or the connection is closed).
        prompt: characters of all messages together (400).
        running: solutions in progress at the same time; others wait in the queue.
        queue: solutions that wait (503 beyond, with Retry-After).
        requests_per_key: requests of one key at once, over all processes on one database (429).
        seconds: for one answer, waiting included; a request may ask for less.
        shutdown: seconds for answers in progress to finish when the server stops.
    """

    body: int = 1_000_000
    upload: float = 30.0
    stalled: float = 60.0
    prompt: int = 100_000
    running: int = 64
    queue: int = 512
    requests_per_key: int = 256
    seconds: float = 600.0
    shutdown: float = 30.0


OVERLOADED = "the server is overloaded; try again later"


class AdmissionQueue:
    """Limits the solutions in progress; others wait in the order of their arrival.

    Args:
        on_change: called with the numbers of running and waiting solutions when they change.

    Attributes:
        running, waiting: number of solutions.
    """

    def __init__(
        self, limits: Limits, on_change: Callable[[int, int], None] = lambda running, waiting: None
    ) -> None:
        self.limits = limits
        self.on_change = on_change
        self.running = 0
        self.waiting = 0
        self._slots = asyncio.Semaphore(limits.running)

    def admit(self, count: int) -> None:
        """Raises APIError (503) if the queue has no room for `count` more solutions."""
        admitted = self.running + self.waiting
        if admitted + count > self.limits.running + self.limits.queue:
            raise APIError(503, OVERLOADED, "server_error", "overloaded", retry_after=1)

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[float]:
        """Hold a slot for one solution; yields the seconds left until the deadline.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            APIError: 504, the deadline has passed.
        """
        self._count(waiting=1)
        try:
            async with asyncio.timeout(seconds_left(deadline)):
                await self._slots.acquire()
        except TimeoutError as error:
            raise too_late() from error
        finally:
            self._count(waiting=-1)
        self._count(running=1)
        try:
            yield seconds_left(deadline)
        finally:
            self._count(running=-1)
            self._slots.release()

    def _count(self, running: int = 0, waiting: int = 0) -> None:
        self.running += running
        self.waiting += waiting
        self.on_change(self.running, self.waiting)


def seconds_left(deadline: float) -> float:
    """Seconds until a deadline by `time.monotonic`. Raises APIError (504) once it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late()
    return left


def too_late() -> APIError:
    return APIError(504, "the deadline passed before the answer began", "server_error", "deadline")
