"""Requests that routing cannot serve, handed on to one model as they are."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from pydantic_core import from_json

from trim.engines.patience import retry_after
from trim.engines.refusal import message_in
from trim.errors import ModelUnavailable
from trim.models.openai import OpenAIModel
from trim.server.failure import Failure, invalid, unavailable
from trim.server.passage import Passage
from trim.trace import Author

THEIR_FAULT = (400, 413, 415, 422)
"""Statuses that say that the request is wrong."""


class Passthrough:
    """Hands requests on to the server of one model.

    Args:
        author: whose tokens its answers are, and at whose price.
    """

    def __init__(self, model: OpenAIModel, author: Author) -> None:
        self.model = model
        self.author = author

    def begin(self, fields: Mapping[str, Any]) -> Passage:
        """A request as the server is to get it: the model's name is changed, what is for this
        server left out, and a stream is to tell its usage."""
        body = {name: value for name, value in fields.items() if name != "trim"}
        if body.get("stream"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        ours = self.model.extra_body
        body = {name: value for name, value in body.items() if ours.get(name, "") is not None}
        theirs = {name: value for name, value in ours.items() if value is not None}
        return Passage({**body, "model": self.model.model, **theirs}, self.author)

    async def whole(self, path: str, passage: Passage, seconds: float) -> bytes:
        """The answer as it came.

        Raises:
            Failure: a number in it is infinite, or the server refuses it or does not answer.
        """
        async with self._answer(path, passage, seconds) as answer:
            content = await answer.read()
            self._take(passage, content)
            return content

    async def pieces(
        self, path: str, passage: Passage, seconds: float
    ) -> AsyncGenerator[tuple[bytes, dict[str, Any]], None]:
        """The events of a stream, as they came and as records.

        Raises:
            Failure: the server refuses the request, does not answer, or stops in the middle.
        """
        async with self._answer(path, passage, seconds) as answer:
            async for data in events(answer.content.iter_any()):
                if data == b"[DONE]":
                    return
                yield data, self._take(passage, data)
        if passage.reason is None:
            raise unavailable(f"{self.model.server.name}: the stream ended before the answer did")

    def _take(self, passage: Passage, data: bytes) -> dict[str, Any]:
        """A whole answer or a piece of one, which is counted."""
        server = self.model.server
        try:
            record: dict[str, Any] = from_json(data)
            if isinstance(record, dict) and record.get("error"):
                told = server.hidden(message_in(data.decode()))
                raise unavailable(f"{server.name}: {told}")
            passage.read(record)
        except ValueError as error:
            raise unavailable(f"{server.name}: {error}") from error
        return record

    @asynccontextmanager
    async def _answer(
        self, path: str, passage: Passage, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one answer of the server, if it takes the request."""
        server = self.model.server
        try:
            body = json.dumps(passage.body, allow_nan=False).encode()
        except ValueError:
            raise invalid("a number in the body is too large") from None
        passage.sent = True
        try:
            async with server.relay(path, body, seconds) as answer:
                if answer.status != 200:
                    passage.sent = False
                    raise refused(server.name, answer, await server.text_of(answer))
                yield answer
        except ModelUnavailable as error:
            raise unavailable(str(error)) from error


def refused(name: str, answer: aiohttp.ClientResponse, text: str) -> Failure:
    """What a client is told where a server does not take its request.

    That it did not accept this server's own key, or knows no such model, is not the client's fault.
    """
    message = f"{name}: {message_in(text)}"
    if answer.status == 429:
        pause = max(1, round(retry_after(answer.headers)))
        return Failure(429, message, "rate_limit_error", "rate_limit_exceeded", retry_after=pause)
    if answer.status not in THEIR_FAULT:
        return unavailable(f"{name}: does not take requests of this server ({answer.status})")
    try:
        told = json.loads(text)["error"]
        code, param = (told[name] and str(told[name]) for name in ("code", "param"))
    except (ValueError, LookupError, TypeError):
        code = param = None
    return Failure(answer.status, message, code=code, param=param)


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The data of server-sent events, each of one line, as OpenAI's protocol has them."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
