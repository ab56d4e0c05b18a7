"""The body of a response: decompressed and parsed within bounds."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

ACCEPTED = "gzip"
"""The only compression that requests accept (`Accept-Encoding`)."""
ANSWER_LIMIT = 32 << 20
"""Bytes of an answer, decompressed; 20,000 tokens with 20 log-probabilities each take as many."""
ERROR_LIMIT = 64 << 10
"""Bytes of an error response, decompressed."""
PIECE = 64 << 10
"""Bytes that are decompressed at a time."""


class UnreadableBody(ValueError):
    """A body is too long, or not compressed as its headers say."""


async def read_pieces(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    """The body of a response as it arrives, decompressed; the response must be raw
    (`auto_decompress=False`).

    The event loop runs between two pieces, however much a few bytes decompress to.

    Raises:
        UnreadableBody: it is damaged, or compressed in a way that was not accepted.
    """
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        async for data in answer.content.iter_any():
            yield data
        return
    if encoding != ACCEPTED:
        raise UnreadableBody(f"compressed as {encoding[:20]!r}, accepted is {ACCEPTED}")
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    begun = False
    try:
        async for data in answer.content.iter_any():
            begun = True
            while data and not decoder.eof:
                piece = decoder.decompress(data, PIECE)
                data = decoder.unconsumed_tail
                if piece:
                    yield piece
                await asyncio.sleep(0)
    except zlib.error as error:
        raise UnreadableBody(f"damaged {ACCEPTED} data") from error
    if begun and not decoder.eof:
        raise UnreadableBody(f"{ACCEPTED} data cut short")


async def read_body(answer: aiohttp.ClientResponse, limit: int = ANSWER_LIMIT) -> bytes:
    """The whole body of a response, decompressed.

    Raises:
        UnreadableBody: it has more than `limit` bytes, or as for `read_pieces`.
    """
    body = bytearray()
    async for piece in read_pieces(answer):
        body += piece
        if len(body) > limit:
            raise UnreadableBody(f"more than {limit >> 10:,} KiB")
    return bytes(body)


def parse_json(content: bytes | bytearray | str) -> Any:
    """JSON from outside; ValueError for anything else, or where it is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
