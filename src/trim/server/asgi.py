"""The server as an ASGI application, for whoever runs such applications (Ray Serve and others)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from trim.lineup import Lineup
from trim.server.app import make_app
from trim.server.run import Serving, opened


def application(lineup: Callable[[], Lineup], serving: Serving) -> FastAPI:
    """An application that loads its models and opens its database when it is started.

    Args:
        lineup: called in the process that answers.
        serving: of its `host` it matters whether others can reach it, for then keys are needed.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        known = lineup()
        team = await asyncio.to_thread(known.load)
        async with opened(known, team, serving) as service:
            app.mount("/", make_app(service))
            yield

    return FastAPI(lifespan=running, openapi_url=None)
