"""Being told to end: SIGTERM as well as Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[list[int]]:
    """Within it SIGTERM is treated like Ctrl-C; the list says whether it came.

    Also where SIGINT itself is ignored and stays so, as in what a script has started in the
    background. Where an event loop runs, the exception is then `asyncio.CancelledError`.
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
    """Cancel the tasks of this thread's event loop, as asyncio does at Ctrl-C; False without one.

    asyncio handles SIGINT only where it is not ignored.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    for task in asyncio.all_tasks(loop):
        task.cancel()
    # Wakes the loop: it may be waiting for a file or socket.
    loop.call_soon_threadsafe(lambda: None)
    return True
