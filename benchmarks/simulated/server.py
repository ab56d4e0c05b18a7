"""The simulated engines as HTTP servers on loopback, in one further process."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import web

from simulated.clock import ProcessorTime
from simulated.engine import Engine, EngineCounters
from simulated.protocol import complete, pool
from simulated.speeds import Speeds


@dataclass(frozen=True)
class Report:
    """Totals of the engines, and the CPU time of their process."""

    engines: Mapping[str, EngineCounters]
    processor: ProcessorTime


@dataclass(frozen=True)
class Servers:
    """Base URLs by engine, and the connection to their process."""

    urls: Mapping[str, str]
    connection: Connection

    def report(self) -> Report:
        """Totals since the start or the last report. Also empties the prefix caches."""
        self.connection.send(None)
        report: Report = self.connection.recv()
        return report


@contextmanager
def serving(engines: Mapping[str, Speeds], scale: float) -> Iterator[Servers]:
    """Run the engines, with empty caches, until the block ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, dict(engines), scale), daemon=True)
    process.start()
    there.close()
    try:
        yield Servers(here.recv(), here)
    finally:
        process.terminate()
        process.join()


def serve(connection: Connection, speeds: Mapping[str, Speeds], scale: float) -> None:
    asyncio.run(listen(connection, {name: Engine(one, scale) for name, one in speeds.items()}))


async def listen(connection: Connection, engines: Mapping[str, Engine]) -> None:
    urls = {name: await open_port(engine) for name, engine in engines.items()}
    started = ProcessorTime.now()

    def report() -> None:
        nonlocal started
        connection.recv()
        now = ProcessorTime.now()
        connection.send(
            Report({name: engine.counters for name, engine in engines.items()}, now - started)
        )
        started = now
        for engine in engines.values():
            engine.reset()

    asyncio.get_running_loop().add_reader(connection.fileno(), report)
    gc.freeze()
    connection.send(urls)
    await asyncio.Event().wait()


async def open_port(engine: Engine) -> str:
    application = web.Application(client_max_size=2**24)
    application.router.add_post("/v1/completions", handler(engine, complete))
    application.router.add_post("/pooling", handler(engine, pool))
    application.router.add_get("/health", healthy)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


Answer = Callable[[Engine, Mapping[str, Any]], Awaitable[dict[str, Any]]]


def handler(engine: Engine, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        content = json.dumps(await answer(engine, body)).encode()
        return web.Response(body=content, content_type="application/json")

    return handle


async def healthy(request: web.Request) -> web.Response:
    return web.Response()
