"""A model behind OpenAI's protocol that takes whole requests, and what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from trim.engines.body import read_body, read_error, read_pieces
from trim.engines.http import HttpServer, message_in
from trim.engines.retry import retry_after
from trim.engines.sse import EventReader
from trim.errors import ModelUnavailable
from trim.models.openai import OpenAIModel
from trim.models.response import TEXT_LIMIT, usage_of
from trim.server.errors import APIError, invalid, unavailable
from trim.types import Action, Author, Finish, Step, Trace, Usage

NAME = "passthrough"
"""The policy under which such requests are recorded."""
CHARACTERS_PER_TOKEN = 4
"""For estimating the tokens of a prompt whose usage is unknown."""


@dataclass
class ProxiedRequest:
    """A forwarded request and its cost so far.

    Attributes:
        usage: as reported by the server; None until then. An answer that breaks off before is
            estimated from the chunks received and the characters sent.
        reason: the finish reason; None until the answer has ended.
        texts: the answer's text, for the record; beyond `TEXT_LIMIT` characters it is left out.
        recorded: characters of `texts`.
    """

    body: dict[str, Any]
    author: Author
    started: float = field(default_factory=time.monotonic)
    sent: bool = False
    usage: Usage | None = None
    reason: str | None = None
    chunks: int = 0
    texts: list[str] = field(default_factory=list)
    recorded: int = 0

    @property
    def question(self) -> str:
        """The text of the last message, or the prompt."""
        messages = self.body.get("messages")
        return "".join(texts_in(messages[-1] if messages else self.body.get("prompt")))

    def read(self, record: Any) -> None:
        """Update from a response or a chunk of one. Raises ValueError for anything else."""
        try:
            if record.get("usage"):
                self.usage = usage_of(record["usage"])
            for choice in record["choices"]:
                message = choice.get("message") or choice.get("delta") or choice
                self.chunks += 1
                self.reason = choice.get("finish_reason") or self.reason
                text = message.get("content", message.get("text"))
                if text and not choice.get("index") and self.recorded < TEXT_LIMIT:
                    self.texts.append(str(text)[: TEXT_LIMIT - self.recorded])
                    self.recorded += len(self.texts[-1])
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("the response is not in OpenAI's form") from error

    def traces(self) -> list[Trace]:
        """The answer as a solution of one step; empty before the request was sent."""
        if not self.sent:
            return []
        read = sum(map(len, texts_in(self.body.get("messages") or self.body.get("prompt"))))
        used = self.usage or Usage(read // CHARACTERS_PER_TOKEN, 0, self.chunks)
        weak = self.author is Author.WEAK
        step = Step(
            "".join(self.texts),
            self.author,
            Action.CONTINUE,
            draft_tokens=used.tokens if weak else 0,
            strong_tokens=0 if weak else used.tokens,
            truncated=self.reason == "length",
        )
        unused = {role: Usage() for role in ("weak", "strong", "scorer")}
        return [
            Trace(
                self.question,
                NAME,
                seed=0,
                steps=(step,),
                finish=Finish.TOKENS if step.truncated else Finish.STOP,
                usage={**unused, str(self.author): used},
                seconds=time.monotonic() - self.started,
            )
        ]


def texts_in(given: Any) -> list[str]:
    """The texts in messages, in one of them, or in a prompt."""
    match given:
        case str():
            return [given]
        case list():
            return [text for each in given for text in texts_in(each)]
        case {"text": str(text)}:
            return [text]
        case {"content": content}:
            return texts_in(content)
    return []


CLIENT_ERRORS = (400, 413, 415, 422)
"""Statuses of a server for an error in the client's request."""


class Passthrough:
    """Forwards requests to the server of one model.

    Args:
        author: the role whose tokens and price its answers count as.
    """

    def __init__(self, model: OpenAIModel, author: Author) -> None:
        self.model = model
        self.author = author

    def begin(self, fields: Mapping[str, Any]) -> ProxiedRequest:
        """A request as it is sent: with the model's own name and `extra_body`, without `trim`, and
        with the usage of a stream."""
        body = {name: value for name, value in fields.items() if name != "trim"}
        if body.get("stream"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        extra = self.model.extra_body
        body = {name: value for name, value in body.items() if extra.get(name, "") is not None}
        added = {name: value for name, value in extra.items() if value is not None}
        return ProxiedRequest({**body, "model": self.model.model, **added}, self.author)

    async def respond(self, path: str, proxied: ProxiedRequest, seconds: float) -> bytes:
        """The response, unchanged.

        Raises:
            APIError: a number in the body is infinite, or the server rejects it or does not answer.
        """
        async with self._answer(path, proxied, seconds) as answer:
            content = await read_body(answer)
            self._take(proxied, content)
            return content

    async def stream(
        self, path: str, proxied: ProxiedRequest, seconds: float
    ) -> AsyncGenerator[tuple[bytes, dict[str, Any]], None]:
        """The events of a stream, unchanged and parsed.

        Raises:
            APIError: the server rejects the request, does not answer, or breaks off.
        """
        events = EventReader()
        async with (
            self._answer(path, proxied, seconds) as answer,
            aclosing(read_pieces(answer)) as pieces,
        ):
            async for piece in pieces:
                try:
                    for data in events.lines(piece):
                        yield data, self._take(proxied, data)
                except ValueError as error:
                    raise unavailable(f"{self.model.server.name}: {error}") from error
                if events.done:
                    return
        if proxied.reason is None:
            raise unavailable(f"{self.model.server.name}: the stream ended before the answer did")

    def _take(self, proxied: ProxiedRequest, data: bytes) -> dict[str, Any]:
        """Parse a response or a chunk of one, and count it."""
        server = self.model.server
        try:
            record: dict[str, Any] = from_json(data)
            if isinstance(record, dict) and record.get("error"):
                raise unavailable(f"{server.name}: {server.shown(message_in(record))}")
            proxied.read(record)
        except ValueError as error:
            raise unavailable(f"{server.name}: {server.shown(str(error))}") from error
        return record

    @asynccontextmanager
    async def _answer(
        self, path: str, proxied: ProxiedRequest, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request once; yields the server's response if it accepts."""
        server = self.model.server
        try:
            body = json.dumps(proxied.body, allow_nan=False).encode()
        except ValueError:
            raise invalid("a number in the body is too large") from None
        proxied.sent = True
        try:
            async with server.stream(path, body, seconds) as answer:
                if answer.status != 200:
                    proxied.sent = False
                    raise rejection(server, answer, await read_error(answer))
                yield answer
        except ModelUnavailable as error:
            raise unavailable(str(error)) from error


def rejection(server: HttpServer, answer: aiohttp.ClientResponse, found: Any) -> APIError:
    """The error for the client of a rejected request, without the server's key.

    A rejected key or model name is this server's fault, not the client's.

    Args:
        found: the parsed response, or its text.
    """
    message = f"{server.name}: {server.shown(message_in(found))}"
    if answer.status == 429:
        pause = max(1, round(retry_after(answer.headers)))
        return APIError(429, message, "rate_limit_error", "rate_limit_exceeded", retry_after=pause)
    if answer.status not in CLIENT_ERRORS:
        return unavailable(f"{server.name}: rejects requests of this server ({answer.status})")
    error = found.get("error") if isinstance(found, dict) else None
    fields = error if isinstance(error, dict) else {}
    code, param = (
        server.shown(str(fields[name])) if fields.get(name) else None for name in ("code", "param")
    )
    return APIError(answer.status, message, code=code, param=param)
