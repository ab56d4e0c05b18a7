"""What FastAPI resolves for the routes: the service, the client's key and the JSON of the body."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic_core import from_json

from trim.server.admission import Limits
from trim.server.errors import APIError, invalid
from trim.server.service import Service
from trim.server.storage.keys import UserKey

CLOSE = {"Connection": "close"}
"""The connection is of no use while the rest of a body is on its way."""
BEARER = HTTPBearer(
    auto_error=False, scheme_name="key", description="needed once the server has a key"
)


async def current_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(current_service)]


async def current_key(
    request: Request,
    service: CurrentService,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> UserKey | None:
    """The client's key; None where no key is needed.

    Raises:
        APIError: 401 without a valid key.
    """
    key = await service.accounts.identify(credentials.credentials if credentials else None)
    request.state.key = key and key.name
    return key


CurrentKey = Annotated[UserKey | None, Depends(current_key)]


async def current_key_if_sent(
    request: Request,
    service: CurrentService,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> UserKey | None:
    """The client's key; None if it sent none, none is needed, or no database can be asked.

    Raises:
        APIError: 401 for an invalid key.
    """
    if credentials is None:
        return None
    try:
        return await current_key(request, service, credentials)
    except APIError as failure:
        if failure.status == 401:
            raise
        return None


CurrentKeyIfSent = Annotated[UserKey | None, Depends(current_key_if_sent)]


async def json_fields(request: Request, service: CurrentService, key: CurrentKey) -> dict[str, Any]:
    """The fields of the JSON object in the body, which is read once the client is identified.

    FastAPI's own parsing limits neither size nor time, and accepts NaN.

    Raises:
        APIError: the body is of another type (415), too large (413), too slow (408), or not a
            JSON object (400).
        ClientDisconnect: the client disconnected before the end of the body.
    """
    # Browsers send any other type for the page of another site without asking the server.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise APIError(
            415,
            "the body must be JSON and its header Content-Type: application/json (with curl:"
            " -H 'Content-Type: application/json')",
            code="unsupported_media_type",
            headers=CLOSE,
        )
    try:
        fields = from_json(await read_body(request, service.limits), allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"invalid JSON in the body: {error}") from None
    if not isinstance(fields, dict):
        raise invalid('the body must be a JSON object, as in {"model": "trim", "messages": […]}')
    return fields


JsonFields = Annotated[dict[str, Any], Depends(json_fields)]


async def read_body(request: Request, limits: Limits) -> bytes:
    too_large = APIError(
        413, f"the body is larger than {limits.body} bytes", code="body_too_large", headers=CLOSE
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.body:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.upload):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body:
                    raise too_large
    except TimeoutError:
        raise APIError(
            408,
            f"the body did not arrive within {limits.upload:g} seconds",
            code="body_too_slow",
            headers=CLOSE,
        ) from None
    return bytes(body)
