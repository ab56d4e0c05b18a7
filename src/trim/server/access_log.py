"""The access log: one line for each request, without questions and answers."""

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
"""Paths that are polled, and not logged."""
CLIENT_DISCONNECTED = 499
"""Status in the log of a request whose client disconnected before the response."""


OFTEN = ("asyncio", "trim.server.connections", "uvicorn.error")
"""Loggers whose warnings any client can cause."""
INTERVAL = 60.0
"""Seconds after which the same warning of these is logged again."""


class LogFormat(StrEnum):
    """Format of log lines."""

    JSON = "json"
    TEXT = "text"


class AccessLog:
    """ASGI middleware that logs each request when it has ended.

    It reads `request.state`: `key` is the name of the key, `error` the code of an error, and
    `record` the `trim.server.accounts.RequestRecord`. The path is the route's template, because the
    path of an unknown route may hold anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CLIENT_DISCONNECTED

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            state = scope.get("state", {})
            record = state.get("record")
            fields = {
                "status": status,
                "path": getattr(scope.get("route"), "path", None),
                "key": state.get("key"),
                "error": state.get("error"),
                "seconds": round(time.perf_counter() - started, 4),
                **(record.log_fields if record else {}),
            }
            known = {name: value for name, value in fields.items() if value is not None}
            REQUESTS.info("request", extra={"fields": known})


class Formatter(logging.Formatter):
    """Formats a log record as one line, whatever the names in it hold.

    Of an exception it shows class and call stack without the message, which may quote a request.
    """

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self.log_format = log_format

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            kind, _, stack = record.exc_info
            fields["exception"] = kind.__name__
            fields["places"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(stack)
            ]
        if self.log_format is LogFormat.JSON:
            # In ASCII: terminals also obey control characters beyond it.
            return json.dumps(fields).replace("\x7f", r"\u007f")
        time_of_day, _, event = (fields.pop(name) for name in ("time", "level", "event"))
        pairs = (f"{name}={quoted(str(value))}" for name, value in fields.items())
        return " ".join((time_of_day, printable(event), *pairs))


def printable(text: str) -> str:
    """`text` with escapes in place of line breaks and of what a terminal would obey."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def quoted(value: str) -> str:
    """`value`, in quotes where it could be taken for further fields."""
    if value and value.isprintable() and not any(each in value for each in ' "='):
        return value
    return json.dumps(value).replace("\x7f", r"\u007f")


class Throttle(logging.Filter):
    """Passes a warning that clients can cause at most once in `INTERVAL`."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in OFTEN or (record.exc_info and record.name == "uvicorn.error"):
            return True
        # Asyncio appends details to the first line.
        kind = (record.name, str(record.msg).partition("\n")[0])
        now = time.monotonic()
        if now - self._passed.get(kind, -INTERVAL) < INTERVAL:
            return False
        self._passed[kind] = now
        return True


def configure_logging(log_format: LogFormat) -> None:
    """Send all logging of this process to stderr: requests, and warnings of any library."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(log_format))
    handler.addFilter(Throttle())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    REQUESTS.setLevel(logging.INFO)
