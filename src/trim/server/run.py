"""Starting and stopping the server."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from errno import EADDRINUSE
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvicorn
from fastapi import FastAPI

from trim.config import DEFAULT_POLICY
from trim.configuration.source import Models, ModelSource
from trim.errors import InvalidInput, require_extra
from trim.models.spans import require_spans
from trim.policies.policy import Policy
from trim.policies.sweep import policies_by_cost
from trim.server.access_log import AccessLog, LogFormat, configure_logging
from trim.server.accounts import open_accounts
from trim.server.admission import Limits
from trim.server.app import make_app
from trim.server.catalog import RouterCatalog, describe_curve, read_curve
from trim.server.connections import (
    BACKLOG,
    BURST,
    Connection,
    Connections,
    Listener,
    connection_limit,
)
from trim.server.controller import Controller
from trim.server.service import Service
from trim.server.workers import supervise

if TYPE_CHECKING:
    from trim.server.tracing import Tracing

LOOPBACK = ("127.0.0.1", "::1", "localhost")
KEEP_ALIVE = 75
"""Seconds after which an idle connection is closed."""


@dataclass(frozen=True)
class Serving:
    """The options of a server.

    Attributes:
        port: 0 for any free port.
        database: a file for SQLite, or `postgresql://…`.
        policy: of the model `trim`; None for that of the models' source.
        curve: measured routers (`trim.server.catalog.read_curve`); None for the source's own.
        keep_texts: store questions and answers, not only their cost.
        target_share: share of strong tokens at which to hold the usual router by moving its
            setting; None for the source's own.
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


def serve(source: ModelSource, serving: Serving) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; answers in progress are finished first.

    Raises:
        InvalidInput: an invalid policy, curve or database; a policy that cannot be held at the
            target share; an address that cannot be listened on, or that others can reach while
            there is no key; a model that does not work.
        ModelUnavailable: a model server does not answer.
    """
    catalog_of(source, serving)
    controller_of(source, serving)
    source.fetch()  # once, before several workers look for the files
    listening = listen(serving.host, serving.port)
    host, port = listening.getsockname()[:2]

    def announce() -> None:
        page = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        click.echo(f"trim: listening on {page} (the page), API at {page}v1", err=True)

    if serving.workers == 1:
        run_server(source, serving, listening, announce)
    else:
        work = partial(run_server, source, serving, listening)
        supervise(serving.workers, work, announce, serving.limits.shutdown)


def run_server(
    source: ModelSource,
    serving: Serving,
    listening: socket.socket,
    on_ready: Callable[[], None],
    heartbeat: Callable[[], None] | None = None,
) -> None:
    """Serve in this process until it is told to stop.

    Args:
        on_ready: called once requests are accepted.
        heartbeat: called every second from then on.

    Raises as `serve` does.
    """
    configure_logging(serving.log_format)
    models = source.load()

    async def run() -> None:
        async with opened(source, models, serving) as service:
            server = Server(server_config(service, heartbeat), on_ready)
            tune_garbage_collection()
            await server.serve([Listener(listening)])

    asyncio.run(run())


def tune_garbage_collection() -> None:
    """Run Python's collector rarely: with 500 streams a full collection stops them for 0.15 s.

    Existing objects are exempt, and requests leave no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


class Server(uvicorn.Server):
    """Uvicorn's server, which returns after SIGINT, SIGTERM and SIGHUP, and stops when its parent
    is gone.

    Args:
        on_ready: called once requests are accepted.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)  # Asyncio has lowered it to the burst that it accepts.
        self.on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        parent = multiprocessing.parent_process()
        if parent:
            loop.add_reader(parent.sentinel, self.handle_exit, signal.SIGTERM, None)
        with super().capture_signals(), self.stopped_by_hangup():
            try:
                yield
            finally:
                # Uvicorn raises them again, which would end the process before the database closes.
                self._captured_signals.clear()
                if parent:
                    loop.remove_reader(parent.sentinel)

    @contextmanager
    def stopped_by_hangup(self) -> Iterator[None]:
        """A terminal that is closed stops the server as SIGTERM does, but not under `nohup`."""
        before = signal.getsignal(signal.SIGHUP)
        if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
            yield
            return
        signal.signal(signal.SIGHUP, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)


def server_config(service: Service, heartbeat: Callable[[], None] | None = None) -> uvicorn.Config:
    async def notify() -> None:
        if heartbeat:
            heartbeat()

    connections = Connections(connection_limit())
    return uvicorn.Config(
        AccessLog(make_app(service)),
        http=partial(Connection, service.limits, connections),  # type: ignore[arg-type]
        ws="none",
        backlog=BURST,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        callback_notify=notify,
        timeout_notify=0,
        timeout_graceful_shutdown=int(service.limits.shutdown),
        timeout_keep_alive=KEEP_ALIVE,
    )


@asynccontextmanager
async def opened(source: ModelSource, models: Models, serving: Serving) -> AsyncIterator[Service]:
    """The service of one process, with an open database."""
    tracing = open_tracing(serving.keep_texts)
    accounts = await open_accounts(serving.database, source.prices, serving.keep_texts)
    try:
        if serving.host not in LOOPBACK and not accounts.need_key:
            raise InvalidInput(
                f"listening on {serving.host}: other machines need a key; create one with"
                " `trim keys create NAME`"
            )
        catalog, controller = catalog_of(source, serving), controller_of(source, serving)
        await require_models(models, (catalog.usual, *catalog.routers.values()))
        yield Service(source, models, catalog, serving.limits, accounts, controller, tracing)
    finally:
        await accounts.close()
        if tracing:
            await asyncio.to_thread(tracing.close)


def catalog_of(source: ModelSource, serving: Serving) -> RouterCatalog:
    """The routers that requests may name. Raises InvalidInput for an invalid policy or curve."""
    curve = serving.curve or source.curve
    usual = usual_policy(source, serving)
    if curve is None:
        return RouterCatalog(usual, source.routers)
    return RouterCatalog(usual, source.routers, read_curve(curve), describe_curve(curve))


async def require_models(models: Models, policies: Iterable[Policy]) -> None:
    """Raises InvalidInput if a model cannot write inside steps, and a policy needs it."""
    if any(policy.needs_spans for policy in policies):
        for model in models.writers.values():
            await require_spans(model)


def controller_of(source: ModelSource, serving: Serving) -> Controller | None:
    """None without a target share. Raises InvalidInput for a policy that cannot be controlled."""
    target = source.target_share if serving.target_share is None else serving.target_share
    return (
        None
        if target is None
        else Controller(*policies_by_cost(usual_policy(source, serving)), target)
    )


def usual_policy(source: ModelSource, serving: Serving) -> str:
    return serving.policy or source.policy or DEFAULT_POLICY


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InvalidInput if the address is taken or not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # Asyncio sets TCP_NODELAY only on sockets that name their protocol.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        remedy = "; choose another --port, 0 for any free one" * (error.errno == EADDRINUSE)
        reason = error.strerror or error
        raise InvalidInput(f"{host}:{port}: cannot listen ({reason}){remedy}") from error
    except UnicodeError as error:
        raise InvalidInput(f"--host {host}: not the name of a machine") from error
    return listening


ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


def open_tracing(keep_texts: bool, variables: Mapping[str, str] = os.environ) -> Tracing | None:
    """The exporter of traces; None if OpenTelemetry's standard variables name no collector or
    disable traces.

    Args:
        keep_texts: export questions, answers and steps, not only their cost.
        variables: the environment.

    Raises:
        InvalidInput: the protocol is not supported.
        MissingExtra: the extra `telemetry` is not installed.
    """
    named = next((name for name in ENDPOINTS if variables.get(name)), None)
    off = variables.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if named is None or off or variables.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    for name in PROTOCOLS:
        if variables.get(name, PROTOCOL) != PROTOCOL:
            raise InvalidInput(f"{name}={variables[name]}: only {PROTOCOL} is supported")
    with require_extra(f"{named} is set, which"):
        from trim.server.tracing import Tracing, make_provider
    return Tracing(make_provider(), keep_texts)


def application(source: Callable[[], ModelSource], serving: Serving) -> FastAPI:
    """An application that loads its models and opens its database at startup.

    Args:
        source: called in the process that serves.
        serving: `host` decides whether keys are needed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        known = source()
        models = await asyncio.to_thread(known.load)
        async with opened(known, models, serving) as service:
            app.mount("/", make_app(service))
            yield

    return FastAPI(lifespan=lifespan, openapi_url=None)
