"""The application: routes, and what every request goes through."""

from __future__ import annotations

import hashlib
import json

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp

from trim.server.access_log import CLIENT_GONE
from trim.server.body import CLOSE
from trim.server.description import BODIES, describe
from trim.server.errors import APIError, Gone, invalid
from trim.server.page.routes import page_routes
from trim.server.routes import routes
from trim.server.service import Service
from trim.server.shortcut import Shortcut


def make_app(service: Service) -> ASGIApp:
    """The application of one process."""
    app = FastAPI(title="trim", description="Step-level hybrid inference behind OpenAI's API.")
    api = routes(service, fingerprint(service))
    app.include_router(api)
    app.include_router(page_routes(service))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "not ready"}})
    async def readyz() -> Response:
        """Whether requests can be answered: the database and all servers of models answer."""
        silent = service.silent()
        if not await service.accounts.reachable():
            silent.append("the database")
        if silent:
            return JSONResponse({"status": "not ready", "silent": silent}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(APIError)
    async def tell(http: HttpRequest, failure: APIError) -> Response:
        http.state.error = failure.code
        return JSONResponse(failure.body, failure.status, failure.headers)

    @app.exception_handler(RequestValidationError)
    async def tell_invalid(http: HttpRequest, error: RequestValidationError) -> Response:
        mistake = error.errors()[0]
        where = ".".join(str(name) for name in mistake["loc"][1:])
        return await tell(http, invalid(f"{where}: {mistake['msg']}", where))

    @app.exception_handler(HTTPException)
    async def tell_http(http: HttpRequest, error: HTTPException) -> Response:
        failure = APIError(error.status_code, f"{http.method} {http.url.path}: {error.detail}")
        return JSONResponse(failure.body, failure.status, error.headers)

    @app.exception_handler(Gone)
    async def tell_nobody(http: HttpRequest, error: Gone) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def tell_unexpected(http: HttpRequest, error: Exception) -> Response:
        # Uvicorn closes the connection after an exception; a client that is not told would send
        # its next request into it.
        failure = APIError(
            500, "the server made a mistake; its log says more", "server_error", headers=CLOSE
        )
        return JSONResponse(failure.body, failure.status, failure.headers)

    describe(app)
    known = (each for each in api.routes if isinstance(each, APIRoute))
    return Shortcut(app, {each.path: each for each in known if each.path in BODIES})


def fingerprint(service: Service) -> str:
    """Tells answers of other models apart."""
    models = json.dumps(service.lineup.identify(service.lineup.default_kind), sort_keys=True)
    return f"fp_{hashlib.sha256(models.encode()).hexdigest()[:10]}"
