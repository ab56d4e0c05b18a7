"""Answers in pieces, which end with the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import anyio
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic_core import to_json
from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope, Send

from trim.server.errors import Gone

Result = TypeVar("Result")
DONE = b"data: [DONE]\n\n"
LAST_PIECES = 10.0
"""Seconds after the moment at which an answer is due, in which a client may take what is left."""


def sent(record: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + to_json(record) + b"\n\n"


async def begun(
    http: HttpRequest, pieces: AsyncGenerator[bytes, None], moment: float
) -> EventStream:
    """The stream of pieces, once the first is there: it tells whether there is an answer at all,
    and so the status."""
    first = await unless_gone(http, anext(pieces))
    return EventStream(resumed(first, pieces), moment)


async def resumed(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def unless_gone(http: HttpRequest, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is stopped as soon as the client has closed the connection."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(left(http))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def left(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class JsonAnswer(JSONResponse):
    """A record as JSON."""

    def render(self, content: Any) -> bytes:
        return to_json(content)


class EventStream(StreamingResponse):
    """A stream that stops as soon as the client has closed the connection, or reads too slowly.

    A piece that ends with `DONE` is the last one.

    Args:
        moment: of `time.monotonic` at which the answer is due.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], moment: float) -> None:
        super().__init__(pieces, media_type="text/event-stream")
        self.pieces = pieces
        self.moment = moment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.pieces), anyio.create_task_group() as group:
            group.cancel_scope.deadline = self.moment + LAST_PIECES

            async def stream() -> None:
                await self.stream_response(send)
                group.cancel_scope.cancel()

            group.start_soon(stream)
            await self.listen_for_disconnect(receive)
            group.cancel_scope.cancel()

    async def stream_response(self, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        async for piece in self.pieces:
            more = not piece.endswith(DONE)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if not more:
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
