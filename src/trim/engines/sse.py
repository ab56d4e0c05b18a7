"""Server-sent events, read from the pieces of a response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trim.documents import parse_json

LINE_LIMIT = 4 << 20
"""Bytes of a line."""
STREAM_LIMIT = 64 << 20
"""Bytes of a stream, decompressed."""
DONE = b"[DONE]"
"""Ends the stream of a server with OpenAI's protocol."""


class EventReader:
    """Reads a stream whose records are lines `data: JSON`, up to `data: [DONE]`.

    Attributes:
        done: whether the stream is complete.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = bytearray()
        self._size = 0

    def lines(self, data: bytes) -> Iterator[bytes]:
        """The data of the records that a further piece of the stream completes.

        Raises:
            ValueError: a line or the stream is too long.
        """
        self._size += len(data)
        self._rest += data
        lines: list[bytearray] = []
        if b"\n" in data:
            *lines, self._rest = self._rest.split(b"\n")
        if len(self._rest) > LINE_LIMIT or self._size > STREAM_LIMIT:
            raise ValueError("the stream is too long")
        for line in lines:
            field, _, value = line.partition(b":")
            if self.done or field != b"data":
                continue  # a comment, or a field that these servers do not use
            value = value.strip()
            self.done = value == DONE
            if not self.done:
                yield bytes(value)

    def feed(self, data: bytes) -> Iterator[Any]:
        """The parsed records that a further piece of the stream completes.

        Raises:
            ValueError: a line or the stream is too long, or a record is no JSON.
        """
        return (parse_json(line, finite=False) for line in self.lines(data))
