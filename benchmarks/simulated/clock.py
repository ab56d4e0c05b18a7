"""An event loop whose time is simulated: nothing sleeps, and computing takes no time."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Leap(selectors.DefaultSelector):
    """Moves the time on to the next timer at once where there is nothing to be done before it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        if not ready and timeout:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leap = Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now
