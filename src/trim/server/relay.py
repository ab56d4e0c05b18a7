"""Requests that are handed on, between a client and a model's server."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request as HttpRequest

from trim.server.accounts import RequestRecord
from trim.server.errors import APIError, invalid, unsupported
from trim.server.proxy import Passthrough, ProxiedRequest
from trim.server.recording import recorded
from trim.server.request import Envelope, RoutingOptions, checked
from trim.server.response import headers_of, usage_of
from trim.server.service import Service, seconds_to
from trim.server.storage.keys import UserKey
from trim.server.streaming import DONE, begun, sent, unless_gone


async def passed_on(
    service: Service,
    http: HttpRequest,
    key: UserKey | None,
    fields: dict[str, Any],
    feature: str,
) -> Response:
    """The answer of the model that is handed what routing cannot serve.

    Raises:
        Failure: there is no such model, the request is wrong, or there is no answer.
    """
    passthrough = service.passthrough
    if passthrough is None:
        raise unsupported(feature)
    body = checked(Envelope, fields)
    service.menu.choose(body.model, body.trim)
    if limit := limit_in(body.trim):
        raise invalid(f"{limit}: cannot be kept with {feature}, which is not routed", limit)
    await service.accounts.left(key)
    service.desk.admit(1)
    path = http.url.path.removeprefix("/v1")
    passage = passthrough.begin(fields)
    moment = service.moment(body.trim.deadline)
    asked = RequestRecord(
        uuid.uuid4().hex, key, time.time(), body.model, bool(body.stream), passage.question
    )
    http.state.asked = asked
    if body.stream:
        pieces = streamed(service, passthrough, path, passage, moment, asked, body.with_usage)
        return await begun(http, pieces, moment)
    async with recorded(service, asked, passage.traces):
        answer = await unless_gone(http, whole(service, passthrough, path, passage, moment, asked))
    headers = headers_of(usage_of(passage.traces(), service.prices, with_steps=False))
    return Response(answer, media_type="application/json", headers=headers)


def limit_in(wishes: RoutingOptions) -> str | None:
    """A limit that holds between steps only."""
    limits = {"trim.strong_tokens": wishes.strong_tokens, "trim.money": wishes.money}
    return next((name for name, limit in limits.items() if limit is not None), None)


@asynccontextmanager
async def turn(service: Service, asked: RequestRecord) -> AsyncIterator[None]:
    """Within it, the request is the model's.

    Raises:
        Failure: while it waited, others have spent what was left to its key.
    """
    async with service.desk.turn() as waited:
        if waited:
            await service.accounts.left(asked.key)
        yield


async def whole(
    service: Service,
    passthrough: Passthrough,
    path: str,
    passage: ProxiedRequest,
    moment: float,
    asked: RequestRecord,
) -> bytes:
    async with turn(service, asked):
        return await passthrough.whole(path, passage, seconds_to(moment))


async def streamed(
    service: Service,
    passthrough: Passthrough,
    path: str,
    passage: ProxiedRequest,
    moment: float,
    asked: RequestRecord,
    with_usage: bool,
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; the finish and the usage come once the request is on disk.

    Raises:
        Failure: before the first of them; after it, the failure is the last event.
    """
    shown = False
    held: list[bytes] = []
    try:
        async with recorded(service, asked, passage.traces), turn(service, asked):
            pieces = passthrough.pieces(path, passage, seconds_to(moment))
            async with aclosing(pieces):
                async for data, record in pieces:
                    event = b"data: " + data + b"\n\n"
                    if any(choice.get("finish_reason") for choice in record["choices"]):
                        held.append(event)
                    elif record["choices"]:
                        yield event
                        shown = True
                    elif with_usage or not record.get("usage"):
                        held.append(event)
        yield b"".join((*held, DONE))
    except APIError as failure:
        if not shown:
            raise
        yield sent(failure.body)
