"""A short way to the routes that applications call all the time."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.routing import APIRoute
from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp, Receive, Scope, Send

from trim.server.failure import Failure, Gone


class Shortcut:
    """Calls an endpoint without what the framework does around it, which takes as long as all that
    this server does before the first draft (0.3 ms on 2 cores).

    Args:
        routes: by path, for POST; their endpoints take a request, read its body themselves and
            return a response.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, APIRoute]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope.get("path", ""))
        if route is None or scope.get("method") != "POST":
            await self.app(scope, receive, send)
            return
        scope["route"] = route
        http = HttpRequest(scope, receive, send)
        try:
            response = await route.endpoint(http)
        except (Failure, Gone) as error:
            response = await scope["app"].exception_handlers[type(error)](http, error)
        await response(scope, receive, send)
