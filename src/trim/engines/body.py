"""The body of a response: decompressed and parsed within bounds."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import aiohttp

from trim.documents import parse_json

ACCEPTED = "gzip"
"""The only compression that requests accept (`Accept-Encoding`)."""
ANSWER_LIMIT = 32 << 20
"""Bytes of an answer, decompressed; 20,000 tokens with 20 log-probabilities each take as many."""
ERROR_LIMIT = 1 << 20
"""Bytes of an error response, decompressed, that are read; some servers quote the request."""
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
            begun, whole = True, False
            while not (whole or decoder.eof):
                piece = decoder.decompress(data, PIECE)
                data = decoder.unconsumed_tail
                whole = not data and len(piece) < PIECE
                if piece:
                    yield piece
                await asyncio.sleep(0)
    except zlib.error as error:
        raise UnreadableBody(f"damaged {ACCEPTED} data") from error
    if begun and not decoder.eof:
        raise UnreadableBody(f"{ACCEPTED} data cut short")


async def read_body(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body of a response, decompressed.

    Raises:
        UnreadableBody: it has more than `ANSWER_LIMIT` bytes, or as for `read_pieces`.
    """
    body = bytearray()
    async with aclosing(read_pieces(answer)) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > ANSWER_LIMIT:
                raise UnreadableBody(f"more than {ANSWER_LIMIT >> 20} MiB")
    return bytes(body)


async def read_error(answer: aiohttp.ClientResponse) -> Any:
    """The body of an error response: parsed JSON, or its text, as far as it can be read."""
    body = bytearray()
    with suppress(UnreadableBody):
        async with aclosing(read_pieces(answer)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > ERROR_LIMIT:
                    break
    try:
        return parse_json(body, finite=False)
    except ValueError:
        return body[:ERROR_LIMIT].decode("utf-8", "replace")
