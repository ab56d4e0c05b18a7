"""Clocks of the benchmarks: an event loop with simulated time, and this process's CPU time."""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEDULED = Path("/proc/self/schedstat")


class JumpingSelector(selectors.DefaultSelector):
    """Moves the time to the next timer at once if nothing is ready before it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("deadlock: no timer is set and nothing is ready")
        if not ready and timeout:
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated: nothing sleeps, and computing takes no time."""

    def __init__(self) -> None:
        self._selector_clock = JumpingSelector()
        super().__init__(self._selector_clock)

    def time(self) -> float:
        return self._selector_clock.now


@dataclass(frozen=True)
class ProcessorTime:
    """CPU time of this process, in seconds.

    Attributes:
        used: by all threads.
        waited: by the main thread while it was runnable but not running; NaN except on Linux.
    """

    used: float
    waited: float

    @staticmethod
    def now() -> ProcessorTime:
        """Totals since the process started."""
        waited = int(SCHEDULED.read_text().split()[1]) / 1e9 if SCHEDULED.exists() else math.nan
        return ProcessorTime(time.process_time(), waited)

    def __sub__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.used - other.used, self.waited - other.waited)
