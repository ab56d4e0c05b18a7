"""A client's connection, which may not be held open for nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trim.server.admission import Limits

HEAD_BYTES = 64 * 1024
"""The longest head of a request."""


class Connection(HttpToolsProtocol):
    """Uvicorn's, ended where a head is too long or does not come, or nobody reads the answer.

    A head has its seconds from its first byte, or from the beginning of the connection; between
    requests there are uvicorn's (`timeout_keep_alive`).
    """

    def __init__(self, limits: Limits, **named: Any) -> None:
        super().__init__(**named)
        self._limits = limits
        self._head = 0
        self._in_body = False
        self._coming: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._coming = self.loop.call_later(self._limits.upload, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._coming, self._stalled):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head += len(data)
        super().data_received(data)
        if self._head > HEAD_BYTES:
            self.transport.abort()
        idle = self.cycle is None or self.cycle.response_complete
        if not idle and self._coming:
            self._coming.cancel()
            self._coming = None
        elif idle and not self._coming:
            self._coming = self.loop.call_later(self._limits.upload, self.transport.abort)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_body, self._head = True, 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled:
            self._stalled.cancel()
        self._stalled = self.loop.call_later(self._limits.stalled, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled:
            self._stalled.cancel()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()
