"""The routes of OpenAI's API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from trim.server.accounts import RequestRecord
from trim.server.dependencies import CurrentKey, CurrentService, JsonFields
from trim.server.errors import APIError, internal
from trim.server.forward import forward
from trim.server.request import (
    ChatRequest,
    CompletionRequest,
    StopFilter,
    unsupported_feature,
    validate,
)
from trim.server.response import (
    DONE,
    ChatBody,
    ChatResponse,
    Choice,
    CompletionBody,
    ModelList,
    cancel_on_disconnect,
    error_responses,
    headers_of,
    responses,
    sse,
    start_stream,
    usage_body,
)
from trim.server.service import Job, Service
from trim.server.storage.keys import UserKey
from trim.types import Trace

router = APIRouter(prefix="/v1")


@router.get("/models", response_model=ModelList, responses=error_responses(401, 403))
async def models(service: CurrentService, key: CurrentKey) -> dict[str, Any]:
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "trim"}
        for name in service.catalog.names
    ]
    return {"object": "list", "data": listed}


@router.post("/chat/completions", responses=responses(ChatBody))
async def chat(
    request: Request, service: CurrentService, key: CurrentKey, fields: JsonFields
) -> Response:
    return await respond(request, service, key, fields, ChatRequest)


@router.post("/completions", responses=responses(CompletionBody))
async def completions(
    request: Request, service: CurrentService, key: CurrentKey, fields: JsonFields
) -> Response:
    return await respond(request, service, key, fields, CompletionRequest)


async def respond(
    request: Request,
    service: Service,
    key: UserKey | None,
    fields: dict[str, Any],
    kind: type[ChatRequest] | type[CompletionRequest],
) -> Response:
    """Route a request, or forward it if routing does not support it."""
    if feature := unsupported_feature(fields):
        path = "/chat/completions" if kind is ChatRequest else "/completions"
        return await forward(service, request, key, path, fields, feature)
    body = validate(kind, fields)
    job = await service.admit(body, key)
    response = ChatResponse(kind is ChatRequest, body.model, service.fingerprint)
    choices = [Choice(index, StopFilter(body.stops)) for index in range(body.n)]
    record = RequestRecord(
        response.id,
        key,
        time.time(),
        body.model,
        bool(body.stream),
        job.question,
        len(job.history),
        response.chat,
        request.headers,
    )
    request.state.record = record
    if body.stream:
        chunks = stream(service, job, body, response, choices, record)
        return await start_stream(request, chunks, job.deadline)
    async with service.recording(record, job, choices):
        traces = await cancel_on_disconnect(request, solve_all(service, job, choices))
    usage = usage_body(traces, service.prices, body.trim.steps)
    return JSONResponse(response.whole(choices, usage), headers=headers_of(usage))


async def solve_all(service: Service, job: Job, choices: list[Choice]) -> list[Trace]:
    """Solve all choices concurrently.

    Raises:
        APIError: one of them has failed.
    """

    async def solve(choice: Choice) -> None:
        async with aclosing(texts(service, job, choice)) as pieces:
            async for _ in pieces:
                pass

    try:
        async with asyncio.TaskGroup() as group:
            for choice in choices:
                group.create_task(solve(choice))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [choice.trace for choice in choices if choice.trace]


async def texts(service: Service, job: Job, choice: Choice) -> AsyncGenerator[str, None]:
    """The text of a choice in final pieces.

    A policy that may restart, dropping kept steps, yields nothing before the end.
    """
    restarts = job.router.policy.restarts
    shown = 0
    async with aclosing(service.events(job, choice)) as events:
        async for _ in events:
            if shown < len(choice.text) and not restarts:
                yield choice.text[shown:]
                shown = len(choice.text)
    choice.finish()
    if shown < len(choice.text) or restarts:
        yield choice.text[shown:]


async def stream(
    service: Service,
    job: Job,
    body: ChatRequest | CompletionRequest,
    response: ChatResponse,
    choices: list[Choice],
    record: RequestRecord,
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; those that are ready at the same time are one chunk.

    Raises APIError before the first event; a later error is the last event.
    """
    results: asyncio.Queue[tuple[Choice, str] | Choice | Exception] = asyncio.Queue()

    async def work(choice: Choice) -> None:
        try:
            async with aclosing(texts(service, job, choice)) as pieces:
                async for piece in pieces:
                    await results.put((choice, piece))
            await results.put(choice)
        except Exception as failure:  # of a part of another package, it may be any
            await results.put(failure)

    introduced: set[int] = set()
    ready: list[bytes] = []
    begun = False
    tasks = [asyncio.create_task(work(choice)) for choice in choices]
    try:
        async with service.recording(record, job, choices), cancelled_after(tasks):
            ended: list[Choice] = []
            while len(ended) < len(choices):
                match await results.get():
                    case Exception() as failure:
                        raise failure
                    case Choice() as choice:
                        ended.append(choice)
                    case (Choice(index=index), text):
                        chunk = response.chunk(index, text, first=index not in introduced)
                        ready.append(sse(chunk))
                        introduced.add(index)
                if results.empty() and ready and len(ended) < len(choices):
                    yield b"".join(ready)
                    begun, ready = True, []
        # The request is on disk now; only then the client receives the end of the answer.
        for choice in ended:
            if choice.index not in introduced:
                ready.append(sse(response.chunk(choice.index, "", first=True)))
            ready.append(sse(response.chunk(choice.index, finish=choice.finish_reason)))
        if body.with_usage:
            traces = [choice.trace for choice in choices if choice.trace]
            usage = usage_body(traces, service.prices, body.trim.steps)
            ready.append(sse(response.usage_chunk(usage)))
        yield b"".join((*ready, DONE))
    except APIError as failure:
        if not begun:
            raise
        yield b"".join((*ready, sse(failure.body)))
    except Exception:
        if begun:
            yield b"".join((*ready, sse(internal().body)))
        raise


@asynccontextmanager
async def cancelled_after(tasks: list[asyncio.Task[None]]) -> AsyncIterator[None]:
    """Cancel tasks when the context ends, and wait for their end: then all that they have cost is
    known."""
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if not all(task.done() for task in tasks):
            await asyncio.gather(*tasks, return_exceptions=True)
