"""Every request is kept, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from trim.server.accounts import Asked
from trim.server.failure import Failure
from trim.server.service import Service
from trim.trace import Trace


@asynccontextmanager
async def recorded(
    service: Service, asked: Asked, traces: Callable[[], Sequence[Trace]]
) -> AsyncIterator[None]:
    """Keep what is done inside, as `traces` tells it; at its end it is on disk."""
    finish, failure = "abandoned", None
    try:
        yield
        finish = next((str(trace.finish) for trace in traces()), finish)
    except Failure as error:
        finish, failure = "failed", error.message
        asked.told["error"] = error.code
        raise
    finally:
        done = traces()
        service.metrics.answered(done, finish, time.time() - asked.created)
        writing = asyncio.create_task(service.accounts.record(asked, done, finish, failure))
        # Who leaves stops the work and not the record of it.
        await asyncio.shield(writing)
