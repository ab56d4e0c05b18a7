"""Requests that routing cannot serve, handed on to one model as they are."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic_core import from_json

from trim.engines.http import message_in
from trim.engines.retry import retry_after
from trim.errors import ModelUnavailable
from trim.models.openai import OpenAIModel
from trim.models.response import usage_of
from trim.server.errors import APIError, invalid, unavailable
from trim.types import Action, Author, Finish, Step, Trace, Usage

NAME = "passthrough"
"""The policy under which such requests are kept."""
CHARACTERS_A_TOKEN = 4
"""By which a prompt is counted where the server could not tell its usage."""


@dataclass
class ProxiedRequest:
    """One request that is handed on, and what it has cost so far.

    Attributes:
        usage: as the server tells it; None until it does. What breaks off before is counted by
            the pieces that came and the characters that were sent.
        reason: why the answer ended; None until it has.
    """

    body: dict[str, Any]
    author: Author
    started: float = field(default_factory=time.monotonic)
    sent: bool = False
    usage: Usage | None = None
    reason: str | None = None
    pieces: int = 0
    texts: list[str] = field(default_factory=list)

    @property
    def question(self) -> str:
        """The text of the last message, or the prompt."""
        messages = self.body.get("messages")
        return "".join(texts_in(messages[-1] if messages else self.body.get("prompt")))

    def read(self, record: Any) -> None:
        """Take in a whole answer, or a piece of one. Raises ValueError for anything else."""
        try:
            if record.get("usage"):
                self.usage = usage_of(record["usage"])
            for choice in record["choices"]:
                said = choice.get("message") or choice.get("delta") or choice
                self.pieces += 1
                self.reason = choice.get("finish_reason") or self.reason
                text = said.get("content", said.get("text"))
                if text and not choice.get("index"):
                    self.texts.append(str(text))
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("no answer in OpenAI's form") from error

    def traces(self) -> list[Trace]:
        """The answer as a solution of one step; none before the server was asked."""
        if not self.sent:
            return []
        read = sum(map(len, texts_in(self.body.get("messages") or self.body.get("prompt"))))
        used = self.usage or Usage(read // CHARACTERS_A_TOKEN, 0, self.pieces)
        weak = self.author is Author.WEAK
        step = Step(
            "".join(self.texts),
            self.author,
            Action.CONTINUE,
            draft_tokens=used.tokens if weak else 0,
            strong_tokens=0 if weak else used.tokens,
            truncated=self.reason == "length",
        )
        nobody = {role: Usage() for role in ("weak", "strong", "scorer")}
        return [
            Trace(
                self.question,
                NAME,
                seed=0,
                steps=(step,),
                finish=Finish.TOKENS if step.truncated else Finish.STOP,
                usage={**nobody, str(self.author): used},
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

    def begin(self, fields: Mapping[str, Any]) -> ProxiedRequest:
        """A request as the server is to get it: the model's name is changed, what is for this
        server left out, and a stream is to tell its usage."""
        body = {name: value for name, value in fields.items() if name != "trim"}
        if body.get("stream"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        ours = self.model.extra_body
        body = {name: value for name, value in body.items() if ours.get(name, "") is not None}
        theirs = {name: value for name, value in ours.items() if value is not None}
        return ProxiedRequest({**body, "model": self.model.model, **theirs}, self.author)

    async def whole(self, path: str, passage: ProxiedRequest, seconds: float) -> bytes:
        """The answer as it came.

        Raises:
            Failure: a number in it is infinite, or the server refuses it or does not answer.
        """
        async with self._answer(path, passage, seconds) as answer:
            content = await answer.read()
            self._take(passage, content)
            return content

    async def pieces(
        self, path: str, passage: ProxiedRequest, seconds: float
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

    def _take(self, passage: ProxiedRequest, data: bytes) -> dict[str, Any]:
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
        self, path: str, passage: ProxiedRequest, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The one answer of the server, if it takes the request."""
        server = self.model.server
        try:
            body = json.dumps(passage.body, allow_nan=False).encode()
        except ValueError:
            raise invalid("a number in the body is too large") from None
        passage.sent = True
        try:
            async with server.stream(path, body, seconds) as answer:
                if answer.status != 200:
                    passage.sent = False
                    raise refused(server.name, answer, await server.text_of(answer))
                yield answer
        except ModelUnavailable as error:
            raise unavailable(str(error)) from error


def refused(name: str, answer: aiohttp.ClientResponse, text: str) -> APIError:
    """What a client is told where a server does not take its request.

    That it did not accept this server's own key, or knows no such model, is not the client's fault.
    """
    message = f"{name}: {message_in(text)}"
    if answer.status == 429:
        pause = max(1, round(retry_after(answer.headers)))
        return APIError(429, message, "rate_limit_error", "rate_limit_exceeded", retry_after=pause)
    if answer.status not in THEIR_FAULT:
        return unavailable(f"{name}: does not take requests of this server ({answer.status})")
    try:
        told = json.loads(text)["error"]
        code, param = (told[name] and str(told[name]) for name in ("code", "param"))
    except (ValueError, LookupError, TypeError):
        code = param = None
    return APIError(answer.status, message, code=code, param=param)


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The data of server-sent events, each of one line, as OpenAI's protocol has them."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
