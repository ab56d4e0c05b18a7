"""The order in which an engine serves requests: earlier problems first, to finish them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count

PASSES = 8
"""Passes of the event loop that a problem gets to send its next request; it takes about 4."""

_ranks = count(1)
_rank: ContextVar[int] = ContextVar("rank", default=0)


def begin_problem() -> None:
    """Queue the requests of this task and its children behind those of earlier problems.

    Requests outside of any problem, such as a server's, come first, in order of arrival.
    """
    _rank.set(next(_ranks))


class RequestQueue:
    """Limits the concurrent requests in one event loop; use it as an asynchronous context.

    A free slot goes to the waiting request of the earliest problem, and within one problem to the
    earliest request. First come, first served would advance all problems at the same pace and
    finish nearly all of them at the end.

    Args:
        limit: concurrent requests, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._arrivals = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (_rank.get(), next(self._arrivals), slot))
        try:
            await slot
        except asyncio.CancelledError:
            # The slot may have been granted just before the request was cancelled.
            if not slot.cancelled():
                self._release(0)
            raise

    async def __aexit__(self, *error: object) -> None:
        # A problem that sends its next request at once keeps its slot.
        self._release(PASSES if _rank.get() else 0)

    def _release(self, passes: int) -> None:
        """Grant the slot to the first waiting request, after so many passes of the event loop."""
        if passes and self._waiting:
            asyncio.get_running_loop().call_soon(self._release, passes - 1)
            return
        while self._waiting:
            *_, slot = heappop(self._waiting)
            if not slot.done():
                slot.set_result(None)
                return
        self._free += 1
