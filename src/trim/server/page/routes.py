"""The routes of the page: its files, and what they ask for."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import Request as HttpRequest

from trim.server.accounts import RequestRecord
from trim.server.body import read_fields
from trim.server.errors import APIError, invalid
from trim.server.page.events import read_belief, told
from trim.server.page.overview import overview
from trim.server.request import ChatRequest, Stopping, checked, unserved
from trim.server.response import Choice
from trim.server.service import Service
from trim.server.storage.database import faults_told
from trim.server.streaming import begun

ASSETS = Path(__file__).parent / "assets"
KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline, in nobody's frame."""


def page_routes(service: Service) -> APIRouter:
    """What browsers call."""
    router = APIRouter(include_in_schema=False)
    belief = read_belief(service.lineup)

    @router.get("/")
    async def asking() -> Response:
        return file("index.html")

    @router.get("/operator")
    async def operator() -> Response:
        return file("operator.html")

    @router.get("/page/assets/{name}")
    async def asset(name: str) -> Response:
        return file(name)

    @router.get("/page/menu")
    async def menu() -> Response:
        """What may be chosen, and what it was measured to cost."""
        return JSONResponse(menu_of(service))

    @router.post("/page/solutions")
    async def solutions(http: HttpRequest) -> Response:
        """A solution as it comes about (`trim.server.page.events`)."""
        key = await service.accounts.identify(http.headers.get("authorization"))
        http.state.key = key and key.name
        fields = await read_fields(http, service.limits)
        if feature := unserved(fields):
            refusal = f"{feature}: the page shows routing, which cannot serve it"
            raise invalid(refusal, feature, "unsupported_feature")
        body = checked(ChatRequest, fields)
        if body.n != 1:
            raise invalid("n: the page shows one solution at a time", "n")
        job = await service.admitted(body, key)
        choice = Choice(0, Stopping(body.stops))
        asked = RequestRecord(
            uuid.uuid4().hex,
            key,
            time.time(),
            body.model,
            True,
            job.question,
            len(job.history),
            headers=http.headers,
        )
        http.state.asked = asked
        pieces = told(service, job, choice, asked, belief)
        return await begun(http, pieces, job.moment)

    @router.get("/page/traffic")
    async def traffic(
        http: HttpRequest, hours: Annotated[int, Query(ge=1, le=24 * 366)] = 24
    ) -> Response:
        """What was done for all keys."""
        await service.accounts.authorize_operator(http.headers.get("authorization"))
        with faults_told():
            seen = await overview(service, hours)
        return JSONResponse(seen, headers={"Cache-Control": "no-store"})

    return router


def file(name: str) -> Response:
    """Raises Failure for a file that is no part of the page."""
    path = ASSETS / name
    if path.suffix not in KINDS or path.parent != ASSETS or not path.is_file():
        raise APIError(404, f"{name}: the page has no such file")
    return FileResponse(path, headers=HEADERS, media_type=KINDS[path.suffix])


def menu_of(service: Service) -> dict[str, Any]:
    menu = service.menu
    return {
        "names": menu.names,
        "usual": menu.usual.name,
        "curve": [asdict(offer) for offer in menu.curve],
        "measured": menu.measured,
        "keys": service.accounts.need_key,
    }
