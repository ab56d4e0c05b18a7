"""Connections of clients: how many there are, and how long and how large a request may be."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trim.server.admission import OVERLOADED, Limits

CONNECTIONS = 2048
"""Largest number of open connections of a process."""
HEAD_BYTES = 64 * 1024
"""Largest head of a request; also of the trailers and the framing between two parts of a body."""
HEADERS = 128
"""Largest number of header lines of a request."""
PIPELINED = 16
"""Requests that a client may send ahead of the responses to earlier ones."""
BACKLOG = 2048
"""Connections that the kernel holds until they are accepted."""
BURST = 16
"""Connections that are accepted before the event loop turns to others."""
LOG = logging.getLogger(__name__)


def connection_limit() -> int:
    """The number of connections for which this process has descriptors.

    Half of them remain for files, the database and model servers. The soft limit is raised as far
    as needed and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    wanted = 2 * CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * CONNECTIONS, hard)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return min(CONNECTIONS, soft // 2)


class Listener(socket.socket):
    """A listening socket that turns clients away while the process has no descriptor for them.

    Asyncio would log thousands of errors, and nobody would be accepted. One descriptor is held in
    reserve: with it a client is accepted and hung up on, so that the queue of the kernel moves.

    Args:
        listening: is detached.
    """

    def __init__(self, listening: socket.socket) -> None:
        kind = (listening.family, listening.type, listening.proto)
        super().__init__(*kind, fileno=listening.detach())
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> tuple[socket.socket, Any]:
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._reserve is None:
                raise
        LOG.warning("no file descriptors are left: new connections are closed; raise `ulimit -n`")
        self._turn_away()
        raise BlockingIOError  # The next turn of the event loop goes on.

    def _turn_away(self) -> None:
        self._release()
        with suppress(OSError):
            super().accept()[0].close()
        with suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _release(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def close(self) -> None:
        self._release()
        super().close()


class Connections:
    """The open connections of a process, up to a limit.

    Beyond it the one is closed that has waited longest for its client to send or to read.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}

    def add(self, connection: Connection) -> bool:
        """Whether there is room for a new connection."""
        if len(self._open) >= self.limit:
            LOG.warning(
                "%d connections are open, the limit: those that wait for their clients are closed",
                self.limit,
            )
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.remove(oldest)
            oldest.transport.abort()
        self._open.add(connection)
        return True

    def remove(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def note(self, connection: Connection, waits: bool) -> None:
        """Note whether a connection waits for its client."""
        if not waits:
            self._waiting.pop(connection, None)
        elif connection in self._open:
            self._waiting.setdefault(connection)


class Oversized(Exception):
    """A part of a request exceeds its bound."""


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, closed if a request is too large or too slow, or a response unread.

    Uvicorn itself only closes connections that are idle after a response, and limits neither heads
    nor trailers nor pipelined requests. (Its h11 parser limits heads, but accepts requests with
    both Content-Length and chunks, which are used to smuggle requests past a proxy.) A head is
    timed from its first byte, or from the start of the connection.
    """

    def __init__(self, limits: Limits, connections: Connections, **named: Any) -> None:
        super().__init__(**named)
        self._limits = limits
        self._counted = connections
        self._unread = 0
        self._head_bytes = 0
        self._headers = 0
        self._in_body = False
        self._oversized = False
        self._paused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._counted.add(self):
            self._refuse("503 Service Unavailable", OVERLOADED, "Retry-After: 1\r\n")
            return
        self._note()
        self._head_timer = self.loop.call_later(self._limits.upload, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._counted.remove(self)
        for timer in (self._head_timer, self._write_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_oversized()
        idle = self.cycle is None or self.cycle.response_complete
        if not idle and self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
        elif idle and not self._head_timer:
            self._head_timer = self.loop.call_later(self._limits.upload, self.transport.abort)
        self._note()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            self._oversized = True
            raise Oversized
        self._head_bytes = self._headers = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        self._count(len(name) + len(value))
        if not self._in_body:  # Trailers are of no use, and the application has its headers.
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_body, self._unread = True, 0

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body, self._unread = False, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer:
            self._write_timer.cancel()
        self._write_timer = self.loop.call_later(self._limits.stalled, self.transport.abort)
        self._paused = True
        self._note()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer:
            self._write_timer.cancel()
        self._paused = False
        self._note()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            # Closing would wait for the client to read the rest.
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        if self._oversized:
            self._refuse_oversized()
        else:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        """Raises Oversized if the head, or its trailers, exceed their bounds."""
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES or self._headers > HEADERS:
            self._oversized = True
            raise Oversized

    def _note(self) -> None:
        """Note whether the next move is the client's."""
        cycle = self.cycle
        waits = self._paused or cycle is None or cycle.response_complete or cycle.more_body
        self._counted.note(self, waits)

    def _refuse_oversized(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(
                "431 Request Header Fields Too Large",
                f"the head of the request is larger than {HEAD_BYTES} bytes or {HEADERS} lines",
            )
        else:
            # An answer to an earlier request is under way, for which this one would be taken.
            self.transport.abort()

    def _refuse(self, status: str, message: str, headers: str = "") -> None:
        """Respond before there is a request, and hang up."""
        self.transport.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(message)}\r\n"
            f"{headers}Connection: close\r\n\r\n{message}".encode()
        )
        self.transport.close()
