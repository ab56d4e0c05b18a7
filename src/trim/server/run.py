"""Starting and stopping a server."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import uvicorn
from fastapi import FastAPI

from trim.config import DEFAULT_POLICY
from trim.configuration.source import Models, ModelSource
from trim.errors import InvalidInput
from trim.policies.sweep import policies_by_cost
from trim.server.access_log import AccessLog, LogFormat, begin_journal
from trim.server.accounts import open_accounts
from trim.server.admission import Limits
from trim.server.app import make_app
from trim.server.catalog import RouterCatalog, read_curve, read_origin
from trim.server.connection import Connection
from trim.server.controller import Controller
from trim.server.service import Service
from trim.server.tracing import open_tracing
from trim.server.workers import BEAT, supervise

BACKLOG = 2048
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Serving:
    """What a server is started with.

    Attributes:
        port: 0 for any free one.
        database: a file for SQLite, or `postgresql://…`.
        policy: of the model `trim`; the lineup's own where None.
        curve: what was measured of routers (`trim.server.catalog.read_curve`); the lineup's own
            where None.
        keep_texts: keep questions and answers, not only what they cost.
        target_share: of strong tokens, which the usual router is held at by moving its setting;
            the lineup's own where None.
        workers: processes behind the port, each with its own models and limits.
    """

    host: str
    port: int
    database: str
    limits: Limits
    policy: str | None = None
    curve: Path | None = None
    keep_texts: bool = False
    target_share: float | None = None
    workers: int = 1
    log_format: LogFormat = LogFormat.TEXT


class Server(uvicorn.Server):
    """Ends by SIGINT and SIGTERM alike, and where the process that has started it is gone, once
    answers under way are finished and written.

    Args:
        ready: called as soon as requests are taken.
        beat: called every second from then to the end of the event loop.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self.ready = ready
        self.beat = beat

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()
        self._beating = asyncio.create_task(self._go_on_beating())

    async def _go_on_beating(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(BEAT)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own would end the process before the database is closed."""
        loop = asyncio.get_running_loop()
        parent = multiprocessing.parent_process()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        if parent:
            loop.add_reader(parent.sentinel, self.handle_exit, signal.SIGTERM, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            if parent:
                loop.remove_reader(parent.sentinel)


def serve(lineup: ModelSource, serving: Serving) -> None:
    """Answer until the process is told to stop; answers under way are finished first.

    Raises:
        InvalidInput: a wrong policy, curve or database, a policy that cannot be held at the target
            share; an address that cannot be listened on, or one that others reach while there is
            no key; a model that does not work.
        ModelUnavailable: a server does not answer.
    """
    menu_of(lineup, serving)
    controller_of(lineup, serving)
    listening = listen(serving.host, serving.port)

    def announce() -> None:
        host, port = listening.getsockname()[:2]
        click.echo(f"trim: listening on http://{host}:{port}/v1", err=True)

    if serving.workers == 1:
        answer(lineup, serving, listening, announce)
    else:
        supervise(serving.workers, answer, (lineup, serving, listening), announce)


def answer(
    lineup: ModelSource,
    serving: Serving,
    listening: socket.socket,
    ready: Callable[[], None],
    beat: Callable[[], None] = lambda: None,
) -> None:
    """The work of one process, until it is told to stop. Raises as `serve` does."""
    begin_journal(serving.log_format)
    team = lineup.load()

    async def until_told() -> None:
        async with opened(lineup, team, serving) as service:
            server = Server(settings(service), ready, beat)
            look_for_cycles_seldom()
            await server.serve([listening])

    asyncio.run(until_told())


def look_for_cycles_seldom() -> None:
    """Python's collector holds up all streams: each look at those of 500 takes 0.15 s.

    What is there now stays, and no request that is answered leaves a cycle behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


@asynccontextmanager
async def opened(lineup: ModelSource, team: Models, serving: Serving) -> AsyncIterator[Service]:
    """The service of one process, on an open database."""
    tracing = open_tracing(serving.keep_texts)
    accounts = await open_accounts(serving.database, lineup.prices, serving.keep_texts)
    try:
        if serving.host not in LOOPBACK and not accounts.need_key:
            raise InvalidInput(
                f"--host {serving.host}: without keys only this machine may ask; make one with"
                " `trim keys create NAME`"
            )
        menu, controller = menu_of(lineup, serving), controller_of(lineup, serving)
        yield Service(lineup, team, menu, serving.limits, accounts, controller, tracing)
    finally:
        await accounts.close()
        if tracing:
            await asyncio.to_thread(tracing.close)


def menu_of(lineup: ModelSource, serving: Serving) -> RouterCatalog:
    """What is offered. Raises InvalidInput for a wrong policy or curve."""
    curve = serving.curve or lineup.curve
    usual = usual_policy(lineup, serving)
    if curve is None:
        return RouterCatalog(usual, lineup.routers)
    return RouterCatalog(usual, lineup.routers, read_curve(curve), read_origin(curve))


def controller_of(lineup: ModelSource, serving: Serving) -> Controller | None:
    """What holds the share, if one is to be held. Raises InvalidInput where that cannot be."""
    target = lineup.target_share if serving.target_share is None else serving.target_share
    return (
        None
        if target is None
        else Controller(*policies_by_cost(usual_policy(lineup, serving)), target)
    )


def usual_policy(lineup: ModelSource, serving: Serving) -> str:
    return serving.policy or lineup.policy or DEFAULT_POLICY


def settings(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        AccessLog(make_app(service)),
        http=partial(Connection, service.limits),  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(service.limits.shutdown),
        timeout_keep_alive=75,
    )


def listen(host: str, port: int) -> socket.socket:
    """Raises InvalidInput where the address is taken or not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # By the protocol's number asyncio knows to send small pieces at once.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInput(f"{host}:{port}: cannot be listened on ({reason})") from error
    return listening


def application(lineup: Callable[[], ModelSource], serving: Serving) -> FastAPI:
    """An application that loads its models and opens its database when it is started.

    Args:
        lineup: called in the process that answers.
        serving: of its `host` it matters whether others can reach it, for then keys are needed.
    """

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        known = lineup()
        team = await asyncio.to_thread(known.load)
        async with opened(known, team, serving) as service:
            app.mount("/", make_app(service))
            yield

    return FastAPI(lifespan=running, openapi_url=None)
