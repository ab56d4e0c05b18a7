"""SIGTERM handled like Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[list[int]]:
    """Treat SIGTERM like Ctrl-C; the list holds the signals received so far.

    This also works where SIGINT is ignored, as in background jobs of a script. While an event
    loop runs, the exception is `asyncio.CancelledError`.
    """
    terminated: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        elif len(terminated) > 1 or not cancel_all():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)


def cancel_all() -> bool:
    """Cancel the tasks of this thread's event loop; False if no loop runs.

    asyncio itself cancels on SIGINT, but not where SIGINT is ignored.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    for task in asyncio.all_tasks(loop):
        task.cancel()
    # Wake the loop: it may be waiting for a file or socket.
    loop.call_soon_threadsafe(lambda: None)
    return True
