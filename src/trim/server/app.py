"""The ASGI application: its routes, and the responses to errors."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trim.server import routes
from trim.server.access_log import CLIENT_DISCONNECTED
from trim.server.browser_guard import HEADERS, BrowserGuard
from trim.server.dependencies import CLOSE, CurrentKeyIfSent, CurrentService
from trim.server.errors import APIError, internal, invalid
from trim.server.page import routes as page_routes
from trim.server.page.events import read_belief
from trim.server.readiness import Readiness
from trim.server.request import ChatRequest, CompletionRequest
from trim.server.response import error_responses
from trim.server.service import Service

BODIES: Mapping[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}
"""The schemas of bodies, by path."""


def make_app(service: Service) -> FastAPI:
    """The application of one process.

    Raises:
        InvalidInput: the belief of the models cannot be read, or was fitted to other models.
    """
    app = FastAPI(
        title="trim",
        description="Step-level hybrid inference behind OpenAI's API.",
        docs_url=None,  # They load scripts of another site.
        redoc_url=None,
        redirect_slashes=False,  # A redirect would lead to the host that the client has named.
    )
    app.add_middleware(BrowserGuard, service=service)
    app.state.service = service
    app.state.readiness = Readiness(service)
    app.state.belief = read_belief(service.source)
    app.include_router(routes.router)
    app.include_router(page_routes.router)
    app.add_api_route("/healthz", healthz)
    app.add_api_route("/readyz", readyz, responses={503: {"description": "not ready"}})
    app.add_api_route(
        "/metrics", metrics, response_class=PlainTextResponse, responses=error_responses(401)
    )
    app.add_exception_handler(APIError, api_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, disconnected)
    app.add_exception_handler(Exception, internal_error)
    add_bodies(app)
    return app


async def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


async def readyz(request: Request) -> Response:
    """Whether requests can be answered: the database and all model servers answer, and the disk
    has room."""
    readiness: Readiness = request.app.state.readiness
    if silent := await readiness.silent():
        return JSONResponse({"status": "not ready", "silent": silent}, 503)
    return JSONResponse({"status": "ready"})


async def metrics(service: CurrentService, key: CurrentKeyIfSent) -> Response:
    """Metrics for Prometheus. Once there are keys, only operators see money."""
    money = not service.accounts.need_key or (key is not None and key.operator)
    return Response(service.metrics.render(money), media_type=CONTENT_TYPE_LATEST)


async def api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    request.state.error = error.code
    return JSONResponse(error.body, error.status, error.headers)


async def validation_error(request: Request, error: Exception) -> Response:
    """The first error, without the rejected value, which may be private."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(name) for name in first["loc"][1:])
    return await api_error(
        request, invalid(f"{where or 'the body'}: {first['msg']}", where or None)
    )


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    failure = APIError(error.status_code, f"{request.method} {path}: {error.detail}")
    return JSONResponse(failure.body, failure.status, error.headers)


async def disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_DISCONNECTED)


async def internal_error(request: Request, error: Exception) -> Response:
    # Uvicorn closes the connection after an exception; the header keeps clients from reusing it.
    failure = internal()
    return JSONResponse(failure.body, failure.status, {**HEADERS, **CLOSE})


def add_bodies(app: FastAPI) -> None:
    """Declare the bodies in `/openapi.json`: FastAPI does not know those read by a dependency."""
    document = app.openapi()
    for path, kind in BODIES.items():
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"] |= schema.pop("$defs", {})
        document["paths"][path]["post"]["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
