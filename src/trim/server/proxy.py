"""A model behind OpenAI's protocol that takes whole requests, and what they cost."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from trim.costs import Prices
from trim.engines.body import ERROR_LIMIT, read_body, read_pieces
from trim.engines.http import HttpServer, message_in, parsed_error
from trim.engines.retry import retry_after
from trim.engines.sse import EventReader
from trim.errors import ModelUnavailable
from trim.models.openai import OpenAIModel
from trim.models.response import TEXT_LIMIT, encodable
from trim.models.usage import (
    LARGEST_COUNT,
    Call,
    count_in,
    texts_in,
    tokens_after,
    tokens_in,
    usage_of,
)
from trim.server.errors import APIError, invalid, unavailable
from trim.server.storage.ledger import Amount
from trim.types import Action, Author, Finish, Step, Trace, Usage

NAME = "passthrough"
"""The policy under which such requests are recorded."""
ANSWER_TOKENS = 1024
"""Tokens that are reserved for an answer without a limit."""


@dataclass
class ProxiedRequest:
    """A forwarded request and its cost so far.

    Attributes:
        engine: name of the server.
        sent: when it was sent, by `time.monotonic`; None before that and after a rejection.
        usage: as reported by the server; None until then. An answer that breaks off before is
            estimated from what was received and sent; one of which nothing was received, because
            the client disconnected or the deadline passed, from the time that it took.
        reason: the finish reason; None until the answer has ended.
        failed: whether the server did not answer.
        texts: the answer's text, for the record; beyond `TEXT_LIMIT` characters it is left out.
        recorded: characters of `texts`.
    """

    body: dict[str, Any]
    author: Author
    engine: str
    started: float = field(default_factory=time.monotonic)
    sent: float | None = None
    usage: Usage | None = None
    reason: str | None = None
    chunks: int = 0
    texts: list[str] = field(default_factory=list)
    failed: bool = False
    recorded: int = 0

    @property
    def limit(self) -> int | None:
        """The largest number of tokens of an answer; None without a limit."""
        limits = (self.body.get(name) for name in ("max_completion_tokens", "max_tokens"))
        return next((known for limit in limits if (known := count_in(limit))), None)

    def estimate(self, prices: Prices) -> Amount:
        """What it probably costs: it cannot be stopped, so all that it asks for."""
        answers = count_in(self.body.get("n")) or 1
        tokens = min(self.limit or ANSWER_TOKENS, LARGEST_COUNT // answers) * answers
        money = prices.of_usage({str(self.author): Usage(tokens_in(self.body), 0, tokens)})
        return Amount(money, 0 if self.author is Author.WEAK else tokens)

    @property
    def question(self) -> str:
        """The text of the last message, or the prompt."""
        messages = self.body.get("messages")
        return "".join(texts_in(messages[-1] if messages else self.body.get("prompt")))

    def read(self, record: Any) -> None:
        """Update from a response or a chunk of one. Raises ValueError for anything else."""
        try:
            for choice in record["choices"]:
                message = choice.get("message") or choice.get("delta") or choice
                self.chunks += 1
                self.reason = choice.get("finish_reason") or self.reason
                text = message.get("content", message.get("text"))
                if text and not choice.get("index") and self.recorded < TEXT_LIMIT:
                    self.texts.append(encodable(str(text)[: TEXT_LIMIT - self.recorded]))
                    self.recorded += len(self.texts[-1])
            if record.get("usage"):
                with suppress(LookupError, ValueError):  # It is estimated.
                    call = Call(self.engine, self.body)
                    self.usage = usage_of(record["usage"], call, self._written)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("the response is not in OpenAI's form") from error

    @property
    def _written(self) -> int:
        """An estimate of the decoded tokens."""
        if self.sent is None or self.chunks or self.failed:
            return max(self.chunks, tokens_in("".join(self.texts)))
        return tokens_after(time.monotonic() - self.sent, self.limit or LARGEST_COUNT)

    def traces(self) -> list[Trace]:
        """The answer as a solution of one step; empty before the request was sent."""
        if self.sent is None:
            return []
        used = self.usage or Usage(tokens_in(self.body), 0, self._written)
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
        whole = {**body, "model": self.model.model, **added}
        return ProxiedRequest(whole, self.author, self.model.server.name)

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
        proxied.sent = time.monotonic()
        try:
            async with server.stream(path, body, seconds) as answer:
                if answer.status != 200:
                    proxied.sent = None
                    body = await read_body(answer, ERROR_LIMIT)
                    raise rejection(server, answer, parsed_error(body))
                yield answer
        except ModelUnavailable as error:
            proxied.failed = time.monotonic() - (proxied.sent or 0.0) < seconds
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
