"""The routes of OpenAI's API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request as HttpRequest

from trim.server.accounts import RequestRecord
from trim.server.body import read_fields
from trim.server.description import ChatAnswer, ModelList, TextAnswer, answers, errors
from trim.server.errors import APIError
from trim.server.recording import solving
from trim.server.relay import passed_on
from trim.server.request import ChatRequest, CompletionRequest, Stopping, checked, unserved
from trim.server.response import ChatResponse, Choice, headers_of, usage_of
from trim.server.service import Job, Service
from trim.server.streaming import DONE, JsonAnswer, begun, sent, unless_gone
from trim.types import Trace


def routes(service: Service, fingerprint: str) -> APIRouter:
    """What applications call."""
    router = APIRouter(prefix="/v1")

    @router.get("/models", response_model=ModelList, responses=errors(401))
    async def models(http: HttpRequest) -> dict[str, Any]:
        await service.accounts.identify(http.headers.get("authorization"))
        listed = [
            {"id": name, "object": "model", "created": 0, "owned_by": "trim"}
            for name in service.menu.names
        ]
        return {"object": "list", "data": listed}

    @router.post("/chat/completions", responses=answers(ChatAnswer))
    async def chat(http: HttpRequest) -> Response:
        return await answered(http, ChatRequest)

    @router.post("/completions", responses=answers(TextAnswer))
    async def completions(http: HttpRequest) -> Response:
        return await answered(http, CompletionRequest)

    async def answered(
        http: HttpRequest, kind: type[ChatRequest] | type[CompletionRequest]
    ) -> Response:
        key = await service.accounts.identify(http.headers.get("authorization"))
        http.state.key = key and key.name
        fields = await read_fields(http, service.limits)
        if feature := unserved(fields):
            return await passed_on(service, http, key, fields, feature)
        body = checked(kind, fields)
        job = await service.admitted(body, key)
        answer = ChatResponse(kind is ChatRequest, body.model, fingerprint)
        choices = [Choice(index, Stopping(body.stops)) for index in range(body.n)]
        asked = RequestRecord(
            answer.id,
            key,
            time.time(),
            body.model,
            bool(body.stream),
            job.question,
            len(job.history),
            answer.chat,
            http.headers,
        )
        http.state.asked = asked
        if body.stream:
            pieces = streamed(service, job, body, answer, choices, asked)
            return await begun(http, pieces, job.moment)
        async with solving(service, asked, job, choices):
            traces = await unless_gone(http, all_solved(service, job, choices))
        usage = usage_of(traces, service.prices, body.trim.steps)
        return JsonAnswer(answer.whole(choices, usage), headers=headers_of(usage))

    return router


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
    shown = 0
    async with aclosing(service.events(job, choice)) as events:
        async for _ in events:
            if shown < len(choice.text) and not restarts:
                yield choice.text[shown:]
                shown = len(choice.text)
    choice.rest()
    if shown < len(choice.text) or restarts:
        yield choice.text[shown:]


async def streamed(
    service: Service,
    job: Job,
    body: ChatRequest | CompletionRequest,
    answer: ChatResponse,
    choices: list[Choice],
    asked: RequestRecord,
) -> AsyncGenerator[bytes, None]:
    """The events of a stream, those that come together as one piece.

    Raises Failure before the first of them, and tells it after.
    """
    pieces: asyncio.Queue[tuple[Choice, str] | Choice | APIError] = asyncio.Queue()

    async def work(choice: Choice) -> None:
        try:
            async with aclosing(texts(service, job, choice)) as parts:
                async for part in parts:
                    await pieces.put((choice, part))
            await pieces.put(choice)
        except APIError as failure:
            await pieces.put(failure)

    named: set[int] = set()
    ready: list[bytes] = []
    shown = False
    tasks = [asyncio.create_task(work(choice)) for choice in choices]
    try:
        async with solving(service, asked, job, choices):
            ended: list[Choice] = []
            while len(ended) < len(choices):
                match await pieces.get():
                    case APIError() as failure:
                        raise failure
                    case Choice() as choice:
                        ended.append(choice)
                    case (Choice(index=index), text):
                        ready.append(sent(answer.piece(index, text, first=index not in named)))
                        named.add(index)
                if pieces.empty() and ready and len(ended) < len(choices):
                    yield b"".join(ready)
                    shown, ready = True, []
            await stop(tasks)
        # What it cost is on disk now.
        for choice in ended:
            if choice.index not in named:
                ready.append(sent(answer.piece(choice.index, "", first=True)))
            ready.append(sent(answer.piece(choice.index, finish=choice.finish_reason)))
        if body.with_usage:
            traces = [choice.trace for choice in choices if choice.trace]
            ready.append(sent(answer.spent(usage_of(traces, service.prices, body.trim.steps))))
        yield b"".join((*ready, DONE))
    except APIError as failure:
        if not shown:
            raise
        yield b"".join((*ready, sent(failure.body)))
    finally:
        await stop(tasks)


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if not all(task.done() for task in tasks):
        await asyncio.gather(*tasks, return_exceptions=True)
