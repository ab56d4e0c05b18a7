"""Keeps other sites' pages in a user's browser away from the server."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trim.server.errors import APIError, invalid
from trim.server.service import Service

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names that no other machine can claim."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::[0-9]*)?")
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every response: no content of other origins, nothing inline, no framing, no embedding."""
MAX_AGE = 600
"""Seconds for which a browser remembers that an origin is allowed."""


class BrowserGuard:
    """ASGI middleware that refuses requests which a browser sends for the page of another site.

    A browser sends them without asking its user, and a server without keys would answer them. With
    keys it needs no list, because no browser adds a key by itself: hosts are checked where the
    configuration lists them, origins while there is no key. Pages of origins that the
    configuration lists may send requests and read the responses (CORS).
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.accounts = service.accounts
        self.lists_hosts = bool(service.source.hosts)
        self.hosts = LOOPBACK | {name.lower() for name in service.source.hosts}
        self.origins = frozenset(name.lower() for name in service.source.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        listed = origin is not None and origin.lower() in self.origins

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    sent.setdefault(name, value)
                if self.origins:
                    sent.add_vary_header("Origin")
                if listed:
                    sent["Access-Control-Allow-Origin"] = origin or ""
                    sent["Access-Control-Expose-Headers"] = "*"
                    sent["Cross-Origin-Resource-Policy"] = "cross-origin"
            await send(message)

        response = self.respond(scope, headers, listed)
        await (response or self.app)(scope, receive, send_guarded)

    def respond(self, scope: Scope, headers: Headers, listed: bool) -> Response | None:
        """The response to a refused request or a preflight; None for a request to be answered."""
        try:
            host = self.check_host(headers)
            if not listed and not self.accounts.need_key:
                check_origin(scope, headers, host)
        except APIError as failure:
            scope.setdefault("state", {})["error"] = failure.code
            return JSONResponse(failure.body, failure.status)
        if listed and scope["method"] == "OPTIONS":
            return Response(
                status_code=204,
                headers={
                    "Access-Control-Allow-Methods": "GET, POST",
                    "Access-Control-Allow-Headers": headers.get(
                        "access-control-request-headers", "authorization,content-type"
                    ),
                    "Access-Control-Max-Age": str(MAX_AGE),
                },
            )
        return None

    def check_host(self, headers: Headers) -> str:
        """The header `Host`, empty without one.

        Raises:
            APIError: it is malformed (400) or not allowed (403).
        """
        hosts = headers.getlist("host")
        if not hosts:  # HTTP/1.0; every browser sends one.
            return ""
        host = hosts[0].lower()
        match = HOST.fullmatch(host)
        if len(hosts) > 1 or match is None:
            raise invalid("the header Host must be one name or address, with or without a port")
        checked = self.lists_hosts or not self.accounts.need_key
        if checked and match[1] not in self.hosts:
            raise APIError(
                403,
                f"the host {match[1]} is not served; add it to `server.hosts` in the configuration"
                + ("" if self.accounts.need_key else ", or create a key with `trim keys create`"),
                "permission_error",
                "host_not_allowed",
            )
        return host


def check_origin(scope: Scope, headers: Headers, host: str) -> None:
    """Raises APIError (403) if the request is that of another site's page.

    Links of other sites may lead to the server's page.
    """
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    if origin is None:
        follows = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("cross-site", "same-site") or follows:
            return
    elif host and origin.lower().partition("://")[2] == host:
        return
    raise APIError(
        403,
        f"pages of {origin or 'another site'} may not send requests to this server; add their"
        " origin to `server.origins` in the configuration",
        "permission_error",
        "origin_not_allowed",
    )
