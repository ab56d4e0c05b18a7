"""One line for each request, without what was asked and answered."""

from __future__ import annotations

import json
import logging
import time
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = logging.getLogger("trim.requests")
PROBES = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds, and not worth a line."""
CLIENT_GONE = 499
"""The status where nobody was there to be told one."""


class LogFormat(StrEnum):
    """How lines look: for programs, or for people."""

    JSON = "json"
    TEXT = "text"


class AccessLog:
    """Writes a line when a request has ended, from what `request.state` tells of it.

    `key` is the name of the key, `error` the code of a failure, and `asked` the request
    (`trim.server.accounts.Asked`), whose `told` says what was done. A path is that of a route, for
    any other may hold anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CLIENT_GONE

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            state = scope.get("state", {})
            asked = state.get("asked")
            fields = {
                "status": status,
                "path": getattr(scope.get("route"), "path", None),
                "key": state.get("key"),
                "error": state.get("error"),
                "seconds": round(time.perf_counter() - started, 4),
                **(asked.told if asked else {}),
            }
            told = {name: value for name, value in fields.items() if value is not None}
            REQUESTS.info("request", extra={"fields": told})


class Formatter(logging.Formatter):
    """A record in one line. Of an exception it has the kind and the places, not the message, which
    may quote a request."""

    def __init__(self, kind: LogFormat) -> None:
        super().__init__()
        self.kind = kind

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            kind, _, places = record.exc_info
            fields["exception"] = kind.__name__
            fields["places"] = [
                f"{place.filename}:{place.lineno} {place.name}"
                for place in traceback.extract_tb(places)
            ]
        if self.kind is LogFormat.JSON:
            return json.dumps(fields, ensure_ascii=False)
        time_of_day, _, event = (fields.pop(name) for name in ("time", "level", "event"))
        words = (f"{name}={value}" for name, value in fields.items())
        return " ".join((time_of_day, event, *words))


def begin_journal(kind: LogFormat) -> None:
    """Have all logging of this process written to stderr: requests, and warnings of anybody."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(kind))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    REQUESTS.setLevel(logging.INFO)
