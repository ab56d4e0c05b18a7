"""Responses in OpenAI's form: whole, as a stream, and as `/openapi.json` declares them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

import anyio
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from trim.costs import Prices
from trim.events import Decided, Event, Finished, Kept, SpanWritten
from trim.loop.solution import Solution
from trim.router import Router
from trim.server.request import StopFilter
from trim.types import Action, Finish, Step, Trace

TRUNCATED = (Finish.LENGTH, Finish.STEPS, Finish.TOKENS, Finish.CONTEXT)
"""Finishes that OpenAI calls `length`."""


@dataclass
class Choice:
    """The text of one solution, which grows with its steps, or their spans where those are final.

    Attributes:
        stop_filter: cuts the text at the request's stop strings.
        text: everything that may be shown so far.
        router, solution: None while the solution waits in the queue.
        trace: None until the solution has ended.
        began: nanoseconds since 1970; 0 while the solution waits in the queue.
        listener: called with each event of the router, if set.
        begun: the text of the step in progress that is in `text`, or held back for stop strings.
    """

    index: int
    stop_filter: StopFilter
    text: str = ""
    kept: list[Step] = field(default_factory=list)
    router: Router | None = None
    solution: Solution | None = None
    trace: Trace | None = None
    began: int = 0
    listener: Callable[[Event], None] | None = None
    begun: str = ""

    def follow(self, event: Event) -> None:
        """Update from an event of the router."""
        if self.listener:
            self.listener(event)
        match event:
            case SpanWritten(text=text) if self.router and self.router.policy.spans_are_final:
                self.write(text)
            case Decided(_, Action.RESTART):
                self.restart()
            case Kept(_, step):
                self.add(step)
            case Finished(trace):
                self.trace = trace

    def write(self, text: str) -> None:
        """Append a final part of the step in progress."""
        self.begun += text
        self.text += self.stop_filter.feed(text)

    def add(self, step: Step) -> None:
        """Append the rest of a kept step."""
        self.kept.append(step)
        self.text += self.stop_filter.feed(step.text.removeprefix(self.begun))
        self.begun = ""

    def restart(self) -> None:
        """Drop all kept steps; only before any text was sent."""
        self.kept, self.text, self.begun = [], "", ""
        self.stop_filter = StopFilter(self.stop_filter.stops)

    def finish(self) -> None:
        """Append the text that was held back for stop strings."""
        self.text += self.stop_filter.flush()

    @property
    def finish_reason(self) -> str:
        truncated = self.trace is not None and self.trace.finish in TRUNCATED
        return "length" if truncated and not self.stop_filter.stopped else "stop"


@dataclass(frozen=True)
class ChatResponse:
    """Builds the parts of one response, which share id, model and time."""

    chat: bool
    model: str
    fingerprint: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], usage: dict[str, Any]) -> dict[str, Any]:
        """The response to a request without `stream`."""
        return self._record(
            "chat.completion" if self.chat else "text_completion",
            [
                {
                    "index": choice.index,
                    **(
                        {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
                        if self.chat
                        else {"text": choice.text}
                    ),
                    "logprobs": None,
                    "finish_reason": choice.finish_reason,
                }
                for choice in choices
            ],
            usage=usage,
        )

    def chunk(
        self, index: int, text: str | None = None, finish: str | None = None, first: bool = False
    ) -> dict[str, Any]:
        """A chunk of a stream: text of a choice, or its finish."""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        if text is not None:
            delta["content"] = text
        content = {"delta": delta} if self.chat else {"text": text or ""}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish}
        return self._record(self._chunk_object, [choice])

    def usage_chunk(self, usage: dict[str, Any]) -> dict[str, Any]:
        """The last chunk of a stream, without text."""
        return self._record(self._chunk_object, [], usage=usage)

    @property
    def _chunk_object(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _record(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            **more,
        }


def usage_body(traces: Sequence[Trace], prices: Prices, with_steps: bool) -> dict[str, Any]:
    """OpenAI's usage, with the work of models and scorer under `trim`.

    `prompt_tokens` counts the prompts of all calls, cached tokens included; `completion_tokens`
    counts the kept steps. `seconds` is the time spent waiting for models and scorer, of the slowest
    choice.
    """
    read = [
        used
        for trace in traces
        for role, used in trace.usage.items()
        if role not in ("scorer", "warming")
    ]
    prompt = sum(used.prompt_tokens for used in read)
    completion = sum(step.tokens for trace in traces for step in trace.steps)
    spent: dict[str, Any] = {
        "strong_tokens": sum(trace.strong_tokens for trace in traces),
        "middle_tokens": sum(trace.intermediate_tokens for trace in traces),
        "weak_tokens": sum(trace.weak_tokens for trace in traces),
        "discarded_tokens": sum(trace.discarded_tokens for trace in traces),
        "scorer_tokens": sum(trace.scorer_tokens for trace in traces),
        "interventions": sum(trace.interventions for trace in traces),
        "strong_calls": sum(trace.usage["strong"].requests for trace in traces),
        "fallbacks": sum(trace.fallbacks for trace in traces),
        "money": sum(map(prices.of, traces)),
        "seconds": max((trace.seconds for trace in traces), default=0.0),
        "policy": traces[0].policy if traces else None,
        "whole": asdict(traces[0].whole) if traces and traces[0].whole else None,
        "seeds": [trace.seed for trace in traces],
    }
    if with_steps:
        spent["steps"] = [[step_record(step) for step in trace.steps] for trace in traces]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(used.cached_tokens for used in read)},
        "trim": spent,
    }


def headers_of(usage: dict[str, Any]) -> dict[str, str]:
    """The main figures of a response as headers."""
    names = ("strong_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens", "strong_calls",
             "interventions", "money")  # fmt: skip
    spent = usage["trim"]
    shown = {name: str(spent[name]) for name in names}
    if spent["whole"]:
        shown["whole"] = spent["whole"]["role"]
    return {f"X-Trim-{name.replace('_', '-').title()}": value for name, value in shown.items()}


def step_record(step: Step) -> dict[str, Any]:
    """A step as requests list it; `spans` only where several models wrote it."""
    return {
        "text": step.text,
        "author": str(step.author),
        "action": str(step.action),
        "score": step.score,
        "tokens": step.tokens,
        "discarded": step.draft,
        "denied": step.denied,
        "fallback": step.fallback,
        **spans_record(step),
    }


def spans_record(step: Step) -> dict[str, Any]:
    """The field `spans` of a step by several models; nothing for other steps."""
    return {"spans": [asdict(span) for span in step.spans]} if step.spans else {}


DONE = b"data: [DONE]\n\n"
READ_SECONDS = 10.0
"""Seconds after the deadline of an answer in which a client may read the rest of its stream."""
Result = TypeVar("Result")


def sse(record: dict[str, Any]) -> bytes:
    """A record as a server-sent event."""
    return b"data: " + to_json(record) + b"\n\n"


async def cancel_on_disconnect(request: Request, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled as soon as the client disconnects.

    Raises:
        ClientDisconnect: the client has disconnected.
    """

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = (asyncio.ensure_future(work), asyncio.create_task(disconnected()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def start_stream(
    request: Request, chunks: AsyncGenerator[bytes, None], deadline: float
) -> EventStream:
    """The stream of chunks, once the first is there: an error before it sets the status."""
    first = await cancel_on_disconnect(request, anext(chunks))

    async def all_chunks() -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    return EventStream(all_chunks(), deadline)


class EventStream(StreamingResponse):
    """Server-sent events, for at most `READ_SECONDS` after the deadline.

    Args:
        deadline: of the answer, by `time.monotonic`.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncGenerator[bytes, None], deadline: float) -> None:
        super().__init__(chunks)
        self.chunks = chunks
        self.deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette does not close the generator when the client disconnects while a chunk is sent;
        # the solution would go on.
        async with aclosing(self.chunks):
            with anyio.CancelScope(deadline=self.deadline + READ_SECONDS):
                await super().__call__(scope, receive, send)


STATUSES = {
    400: "an error in the request",
    401: "no valid key",
    403: "sent by the page of another site, or to a host that is not served",
    404: "no such model",
    408: "the body did not arrive in time",
    413: "the body is too large",
    415: "the body is not sent as JSON",
    422: "rejected by the model that the request was forwarded to",
    429: "the budget is used up or reserved, or the key has too many requests",
    503: "a model does not answer, or the queue is full",
    504: "the deadline passed before the answer began",
}
EVENT_SCHEMA = {
    "type": "object",
    "description": "`data` is a chunk as in OpenAI's API, an error, or `[DONE]`.",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}


class ErrorBody(BaseModel):
    """The content of an error."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorBody


class UsageBody(BaseModel):
    """OpenAI's usage; `trim` holds the work of each model and the scorer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    trim: dict[str, Any] | None = None


class AssistantMessage(BaseModel):
    """A message of the assistant."""

    role: Literal["assistant"]
    content: str | None


class ChatChoice(BaseModel):
    """One solution."""

    index: int
    message: AssistantMessage
    finish_reason: str


class ChatBody(BaseModel):
    """The response of `/v1/chat/completions` without `stream`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody


class CompletionChoice(BaseModel):
    """One solution."""

    index: int
    text: str
    finish_reason: str


class CompletionBody(BaseModel):
    """The response of `/v1/completions` without `stream`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageBody


class ListedModel(BaseModel):
    """A router."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The routers that a request may name."""

    object: Literal["list"]
    data: list[ListedModel]


def responses(kind: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that solves, as FastAPI declares them."""
    whole = {
        "model": kind,
        "description": "the answer, or its events with `stream`",
        "content": {"text/event-stream": {"schema": EVENT_SCHEMA}},
    }
    return {200: whole, **error_responses(*STATUSES)}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorResponse, "description": STATUSES[code]} for code in statuses}
