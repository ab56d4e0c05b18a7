"""The moment by which a problem is to be answered, known to whatever works on it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_moment: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Within it, `seconds_left` counts down to `moment` of `time.monotonic`, or to an earlier one
    that holds already."""
    token = _moment.set(min(moment, _moment.get()))
    try:
        yield
    finally:
        _moment.reset(token)


def seconds_left() -> float:
    """Seconds that the problem may still take: infinite without a deadline, below 0 after it."""
    return _moment.get() - time.monotonic()
