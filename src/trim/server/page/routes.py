"""The routes of the page: its files, and the data that they request."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response

from trim.server.accounts import RequestRecord
from trim.server.dependencies import CurrentKey, CurrentService, JsonFields
from trim.server.errors import APIError, invalid
from trim.server.page.events import solution_events
from trim.server.page.menu import menu
from trim.server.page.overview import overview
from trim.server.request import ChatRequest, StopFilter, unsupported_feature, validate
from trim.server.response import Choice, start_stream
from trim.server.storage.database import reporting_unavailable
from trim.server.storage.history import PAGE, History

MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
ASSETS = {
    path.name: path
    for path in (Path(__file__).parent / "assets").iterdir()
    if path.suffix in MEDIA_TYPES
}
"""The files of the page by name."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    return asset("index.html")


@router.get("/operator")
async def operator() -> Response:
    return asset("operator.html")


@router.get("/page/assets/{name}")
async def named_asset(name: str) -> Response:
    return asset(name)


@router.get("/page/menu")
async def offers(service: CurrentService) -> dict[str, Any]:
    """The routers, their measured curve, and the models."""
    return menu(service)


@router.post("/page/solutions")
async def solutions(
    request: Request, service: CurrentService, key: CurrentKey, fields: JsonFields
) -> Response:
    """The events of a solution (`trim.server.page.events`)."""
    if feature := unsupported_feature(fields):
        message = f"{feature}: the page shows routing, which cannot serve it"
        raise invalid(message, feature, "unsupported_feature")
    body = validate(ChatRequest, fields)
    if body.n != 1:
        raise invalid("n: the page shows one solution at a time", "n")
    job = await service.admit(body, key)
    choice = Choice(0, StopFilter(body.stops))
    record = RequestRecord(
        uuid.uuid4().hex,
        key,
        time.time(),
        body.model,
        True,
        job.question,
        len(job.history),
        headers=request.headers,
    )
    request.state.record = record
    events = solution_events(service, job, choice, record, request.app.state.belief)
    return await start_stream(request, events, job.deadline)


async def require_operator(key: CurrentKey) -> None:
    """Raises APIError (403) for a key that is not an operator's."""
    if key and not key.operator:
        raise APIError(
            403,
            "only an operator's key may see the traffic of all keys; create one with"
            " `trim keys create NAME --operator`",
            "permission_error",
            "operator_key_needed",
        )


@router.get("/page/traffic", dependencies=[Depends(require_operator)])
async def traffic(
    service: CurrentService, hours: Annotated[int, Query(ge=1, le=24 * 366)] = 24
) -> Response:
    """The traffic of all keys."""
    with reporting_unavailable():
        content = await overview(service, hours)
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


@router.get("/page/requests", dependencies=[Depends(require_operator)])
async def requests(
    service: CurrentService,
    hours: Annotated[int, Query(ge=1, le=24 * 366)] = 24,
    before: Annotated[float | None, Query(gt=0, lt=1e11)] = None,
) -> Response:
    """The newest requests of all keys, before a time in seconds since 1970."""
    now = time.time()
    with reporting_unavailable():
        listed = await History(service.accounts.engine).newest(
            now - hours * 3600, before or now + 1
        )
    return JSONResponse(
        {"requests": listed, "more": len(listed) == PAGE}, headers={"Cache-Control": "no-store"}
    )


@router.get("/page/requests/{request_id}/steps", dependencies=[Depends(require_operator)])
async def steps(
    service: CurrentService, request_id: Annotated[str, PathParameter(max_length=64)]
) -> Response:
    """The steps of a request."""
    with reporting_unavailable():
        found = await History(service.accounts.engine).steps(request_id)
    return JSONResponse({"steps": found}, headers={"Cache-Control": "no-store"})


def asset(name: str) -> Response:
    """Raises APIError (404) for a file that is not part of the page."""
    path = ASSETS.get(name)
    if path is None:
        raise APIError(404, f"{name}: the page has no such file")
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(path, headers=headers, media_type=MEDIA_TYPES[path.suffix])
