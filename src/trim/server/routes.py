"""The routes of OpenAI's API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import Request as HttpRequest
from starlette.types import Receive, Scope, Send

from trim.events import Decided, Finished, Kept
from trim.policies.policy import Action
from trim.server.accounts import Asked
from trim.server.answer import Answer, Choice, usage_of
from trim.server.failure import Failure, unsupported
from trim.server.features import unserved
from trim.server.request import ChatRequest, CompletionRequest
from trim.server.service import Job, Service, failed
from trim.server.stopping import Stopping
from trim.server.storage.keys import UserKey
from trim.trace import Trace

Result = TypeVar("Result")
DONE = b"data: [DONE]\n\n"


class Gone(Exception):
    """The client has closed the connection."""


def routes(service: Service, fingerprint: str) -> APIRouter:
    """What applications call."""
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    async def models() -> dict[str, Any]:
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "trim"}
            for name in service.menu.names
        ]
        return {"object": "list", "data": listed}

    @router.post("/chat/completions")
    async def chat(body: ChatRequest, http: HttpRequest) -> Response:
        return await answered(body, http)

    @router.post("/completions")
    async def completions(body: CompletionRequest, http: HttpRequest) -> Response:
        return await answered(body, http)

    async def answered(body: ChatRequest | CompletionRequest, http: HttpRequest) -> Response:
        key, job = await admitted(service, body, http)
        answer = Answer(isinstance(body, ChatRequest), body.model, fingerprint)
        choices = [Choice(index, Stopping(body.stops)) for index in range(body.n)]
        asked = Asked(answer.id, key, time.time(), body.model, body.stream, job.question)
        if body.stream:
            pieces = streamed(service, job, body, answer, choices, asked)
            # The first piece tells whether there is an answer at all, and so the status.
            first = await unless_gone(http, anext(pieces))
            return EventStream(resumed(first, pieces))
        async with recorded(service, job, choices, asked):
            traces = await unless_gone(http, all_solved(service, job, choices))
        usage = usage_of(traces, service.prices, body.trim.steps)
        return JSONResponse(answer.whole(choices, usage), headers=headers_of(usage))

    return router


async def admitted(
    service: Service, body: ChatRequest | CompletionRequest, http: HttpRequest
) -> tuple[UserKey | None, Job]:
    """Who asks, and for what, once all of it may be done.

    Raises:
        Failure: it may not, or cannot.
    """
    accounts = service.accounts
    key = await accounts.authorize(http.headers.get("authorization"))
    if feature := unserved(body.others):
        raise unsupported(feature)
    job = service.understand(body)
    job = replace(job, router=await accounts.limited(job.router, key, body.n))
    service.desk.admit(body.n)
    return key, job


@asynccontextmanager
async def recorded(
    service: Service, job: Job, choices: list[Choice], asked: Asked
) -> AsyncIterator[None]:
    """Keep what is done inside, whatever becomes of it; at its end it is on disk."""
    finish, failure = "abandoned", None
    try:
        yield
        ended = choices[0].trace
        finish = str(ended.finish) if ended else finish
    except Failure as error:
        finish, failure = "failed", error.message
        raise
    finally:
        policy = job.router.policy.name
        traces = [c.trace or c.solution.trace(policy) for c in choices if c.solution]
        service.metrics.answered(traces, finish, time.time() - asked.created)
        writing = asyncio.create_task(service.accounts.record(asked, traces, finish, failure))
        # Who leaves stops the work and not the record of it.
        await asyncio.shield(writing)


async def all_solved(service: Service, job: Job, choices: list[Choice]) -> list[Trace]:
    """Every choice, solved.

    Raises:
        Failure: one of them has no answer.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for choice in choices:
                group.create_task(solve(service, job, choice))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [choice.trace for choice in choices if choice.trace]


async def solve(service: Service, job: Job, choice: Choice) -> None:
    async with aclosing(texts(service, job, choice)) as parts:
        async for _ in parts:
            pass


async def texts(service: Service, job: Job, choice: Choice) -> AsyncGenerator[str, None]:
    """The text of a choice, in pieces that will not be taken back.

    A policy that may throw kept steps away shows nothing before the end.
    """
    restarts = job.router.policy.restarts
    async with aclosing(service.events(job, choice)) as events:
        async for event in events:
            match event:
                case Decided(_, Action.RESTART):
                    choice.restart()
                case Kept(_, step):
                    piece = choice.keep(step)
                    if piece and not restarts:
                        yield piece
                case Finished(trace):
                    choice.trace = trace
                    if failure := failed(event):
                        raise failure
    rest = choice.rest()
    if restarts:
        yield choice.text
    elif rest:
        yield rest


async def streamed(
    service: Service,
    job: Job,
    body: ChatRequest | CompletionRequest,
    answer: Answer,
    choices: list[Choice],
    asked: Asked,
) -> AsyncGenerator[bytes, None]:
    """The events of a stream. Raises Failure before the first of them, and tells it after."""
    pieces: asyncio.Queue[tuple[Choice, str] | Choice | Failure] = asyncio.Queue()

    async def work(choice: Choice) -> None:
        try:
            async with aclosing(texts(service, job, choice)) as parts:
                async for part in parts:
                    await pieces.put((choice, part))
            await pieces.put(choice)
        except Failure as failure:
            await pieces.put(failure)

    begun: set[int] = set()
    tasks = [asyncio.create_task(work(choice)) for choice in choices]
    try:
        async with recorded(service, job, choices, asked):
            ended: list[Choice] = []
            while len(ended) < len(choices):
                match await pieces.get():
                    case Failure() as failure:
                        raise failure
                    case Choice() as choice:
                        ended.append(choice)
                    case (Choice(index=index), text):
                        yield sent(answer.piece(index, text, first=index not in begun))
                        begun.add(index)
            await stop(tasks)
        # What it cost is on disk now.
        for choice in ended:
            if choice.index not in begun:
                yield sent(answer.piece(choice.index, "", first=True))
            yield sent(answer.piece(choice.index, finish=choice.finish_reason))
        if body.with_usage:
            traces = [choice.trace for choice in choices if choice.trace]
            yield sent(answer.spent(usage_of(traces, service.prices, body.trim.steps)))
        yield DONE
    except Failure as failure:
        if not begun:
            raise
        yield sent(failure.body)
    finally:
        await stop(tasks)


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def resumed(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


def sent(record: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(record, ensure_ascii=False).encode() + b"\n\n"


def headers_of(usage: dict[str, Any]) -> dict[str, str]:
    """The main figures of an answer as headers."""
    names = ("strong_tokens", "weak_tokens", "discarded_tokens", "scorer_tokens", "money")
    return {f"X-Trim-{name.replace('_', '-').title()}": str(usage["trim"][name]) for name in names}


async def unless_gone(http: HttpRequest, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is stopped as soon as the client has closed the connection."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(left(http))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def left(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """A stream that stops as soon as the client has closed the connection."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(pieces, media_type="text/event-stream")
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.pieces), anyio.create_task_group() as group:

            async def stream() -> None:
                await self.stream_response(send)
                group.cancel_scope.cancel()

            group.start_soon(stream)
            await self.listen_for_disconnect(receive)
            group.cancel_scope.cancel()
