"""The body of a request: its size, the time it may take, and its JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from trim.server.admission import Limits
from trim.server.errors import APIError, Gone, invalid

CLOSE = {"Connection": "close"}
"""What is left of a body is not waited for."""


async def read_fields(http: HttpRequest, limits: Limits) -> dict[str, Any]:
    """The fields of the JSON object that a request holds.

    Raises:
        Failure: it is larger than it may be (413), has not come in time (408), or is no such
            object (400).
        Gone: the client has left before its end.
    """
    kind = http.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise invalid("the body must be JSON, sent as Content-Type: application/json")
    try:
        fields = from_json(await read(http, limits), allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"the body is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise invalid('the body must be a JSON object, as in {"model": "trim", "messages": […]}')
    return fields


async def read(http: HttpRequest, limits: Limits) -> bytes:
    too_large = APIError(
        413, f"the body is larger than {limits.body} bytes", code="body_too_large", headers=CLOSE
    )
    told = http.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload):
            async for piece in http.stream():
                body += piece
                if len(body) > limits.body:
                    raise too_large
    except TimeoutError:
        raise APIError(
            408,
            f"the body did not come within {limits.upload:g} seconds",
            code="body_too_slow",
            headers=CLOSE,
        ) from None
    except ClientDisconnect:
        raise Gone from None
    return bytes(body)
