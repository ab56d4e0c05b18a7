"""Responds to requests that routing does not support by forwarding them to one model."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from trim.server.accounts import RequestRecord
from trim.server.errors import APIError, invalid, unavailable, unsupported
from trim.server.request import BaseRequest, RoutingOptions, validate
from trim.server.response import (
    DONE,
    cancel_on_disconnect,
    headers_of,
    sse,
    start_stream,
    usage_body,
)
from trim.server.service import Service
from trim.server.storage.keys import UserKey

HELD_LIMIT = 100
"""Events that are held until the request is on disk: the ends of all choices, and the usage."""


async def forward(
    service: Service,
    request: Request,
    key: UserKey | None,
    path: str,
    fields: dict[str, Any],
    feature: str,
) -> Response:
    """Respond to a request by forwarding it to `path` of a model's server, since it uses `feature`.

    Raises:
        APIError: no model takes such requests, the request is invalid, or the model does not
            answer.
    """
    passthrough = service.passthrough
    if passthrough is None:
        raise unsupported(feature)
    body = validate(BaseRequest, fields)
    service.catalog.choose(body.model, body.trim)
    if limit := limit_in(body.trim):
        raise invalid(
            f"{limit}: cannot be enforced with {feature}, because such requests are forwarded",
            limit,
        )
    messages = fields.get("messages") or []
    if not isinstance(messages, list):
        raise invalid("messages: must be a list", "messages")
    proxied = passthrough.begin(fields)
    deadline = service.deadline(body.trim.deadline)
    record = RequestRecord(
        uuid.uuid4().hex,
        key,
        time.time(),
        body.model,
        bool(body.stream),
        proxied.question,
        turns=max(len(messages) - 1, 0),
        chat=path == "/chat/completions",
        headers=request.headers,
    )
    reservation = await service.reserve(key, proxied.estimate(service.prices), deadline)
    request.state.record = record

    async def respond() -> bytes:
        async with service.queue.slot(deadline) as seconds:
            return await passthrough.respond(path, proxied, seconds)

    async def stream() -> AsyncGenerator[bytes, None]:
        """The events; finish and usage follow once the request is on disk.

        Raises APIError before the first event; a later error is the last event.
        """
        begun = False
        held: list[bytes] = []
        try:
            async with (
                service.recording_traces(record, proxied.traces, reservation=reservation),
                service.queue.slot(deadline) as seconds,
                aclosing(passthrough.stream(path, proxied, seconds)) as chunks,
            ):
                async for data, chunk in chunks:
                    event = b"data: " + data + b"\n\n"
                    if any(choice.get("finish_reason") for choice in chunk["choices"]):
                        held.append(event)
                    elif chunk["choices"]:
                        yield event
                        begun = True
                    elif body.with_usage or not chunk.get("usage"):
                        held.append(event)
                    if len(held) > HELD_LIMIT:
                        raise unavailable("the model's stream goes on after its end")
            yield b"".join((*held, DONE))
        except APIError as failure:
            if not begun:
                raise
            yield sse(failure.body)

    if body.stream:
        return await start_stream(request, stream(), deadline)
    async with service.recording_traces(record, proxied.traces, reservation=reservation):
        answer = await cancel_on_disconnect(request, respond())
    headers = headers_of(usage_body(proxied.traces(), service.prices, with_steps=False))
    return Response(answer, media_type="application/json", headers=headers)


def limit_in(options: RoutingOptions) -> str | None:
    """The first option that only routing can enforce, between steps."""
    limits = {"trim.strong_tokens": options.strong_tokens, "trim.money": options.money}
    return next((name for name, limit in limits.items() if limit is not None), None)
