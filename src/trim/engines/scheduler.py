"""Which request an engine takes next: problems are finished depth first."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from heapq import heappop, heappush
from itertools import count

PASSES = 8
"""Passes of the event loop in which a problem asks for its next step: it takes about 4."""

_begun = count(1)
_place: ContextVar[int] = ContextVar("place", default=0)


def begin_problem() -> None:
    """Rank this task, and the tasks that it creates, behind all problems begun before it.

    Requests outside of any problem, such as a server's, come first, in the order of arrival.
    """
    _place.set(next(_begun))


class Turns:
    """Limits the requests under way in one event loop; use it as an asynchronous context.

    A free turn goes to the waiting request whose problem was begun first, and among those of one
    problem to the request that came first. In order of arrival all problems would advance at the
    same pace, and the first would be finished when nearly all are.

    Args:
        limit: requests under way at a time, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._arrivals = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (_place.get(), next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have come in the moment in which the request was cancelled.
            if not turn.cancelled():
                self._pass_on(0)
            raise

    async def __aexit__(self, *error: object) -> None:
        # A problem keeps its turn if it goes on at once.
        self._pass_on(PASSES if _place.get() else 0)

    def _pass_on(self, passes: int) -> None:
        """Give a turn to the first that waits, after so many passes of the event loop."""
        if passes and self._waiting:
            asyncio.get_running_loop().call_soon(self._pass_on, passes - 1)
            return
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
