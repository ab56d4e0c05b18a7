"""The simulated engines as servers on loopback, in a process of their own."""

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

from simulated.engine import Engine, ReplayState
from simulated.processor import Processor
from simulated.protocol import complete, pool
from simulated.speeds import Speeds


@dataclass(frozen=True)
class Report:
    """What the process has done: the books of each engine, and what it took."""

    books: Mapping[str, ReplayState]
    processor: Processor


@dataclass(frozen=True)
class Servers:
    """Addresses by engine, and the wire to the process."""

    urls: Mapping[str, str]
    wire: Connection

    def report(self) -> Report:
        """Since the start or the last report; the prefix caches are emptied."""
        self.wire.send(None)
        return self.wire.recv()


@contextmanager
def serving(engines: Mapping[str, Speeds], scale: float) -> Iterator[Servers]:
    """Start the engines, empty; they end with the block."""
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


def serve(wire: Connection, speeds: Mapping[str, Speeds], scale: float) -> None:
    asyncio.run(listen(wire, {name: Engine(one, scale) for name, one in speeds.items()}))


async def listen(wire: Connection, engines: Mapping[str, Engine]) -> None:
    urls = {name: await open_port(engine) for name, engine in engines.items()}
    started = Processor.now()

    def report() -> None:
        nonlocal started
        wire.recv()
        now = Processor.now()
        wire.send(Report({name: engine.books for name, engine in engines.items()}, now - started))
        started = now
        for engine in engines.values():
            engine.forget()

    asyncio.get_running_loop().add_reader(wire.fileno(), report)
    gc.freeze()
    wire.send(urls)
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
        said = json.dumps(await answer(engine, body)).encode()
        return web.Response(body=said, content_type="application/json")

    return handle


async def healthy(request: web.Request) -> web.Response:
    return web.Response()
