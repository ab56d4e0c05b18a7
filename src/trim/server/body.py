"""A limit to what a request may send."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trim.server.failure import Failure


class BodyLimit:
    """Refuses a request whose body is larger than `limit` bytes, before all of it has come."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        failure = Failure(413, f"the body is larger than {self.limit} bytes", code="body_too_large")
        refusal = JSONResponse(failure.body, failure.status)
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and int(told) > self.limit:
            await refusal(scope, receive, send)
            return
        length = 0
        answered = False

        async def receive_some() -> Message:
            nonlocal length
            message = await receive()
            length += len(message.get("body", b""))
            if length > self.limit:
                raise failure
            return message

        async def send_once(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive_some, send_once)
        except Failure:
            if answered:
                raise
            await refusal(scope, receive, send)
