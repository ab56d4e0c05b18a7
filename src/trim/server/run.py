"""Starting and stopping a server."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import uvicorn

from trim.errors import InvalidInput
from trim.lineup import Lineup
from trim.server.accounts import open_accounts
from trim.server.app import make_app
from trim.server.connection import Connection
from trim.server.journal import Journal, LogFormat, begin_journal
from trim.server.limits import Limits
from trim.server.menu import Menu, read_curve
from trim.server.service import Service

USUAL_POLICY = "thr:0.5"
BACKLOG = 2048
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Serving:
    """What a server is started with.

    Attributes:
        port: 0 for any free one.
        database: a file for SQLite, or `postgresql://…`.
        policy: of the model `trim`; the lineup's own where None.
        curve: what was measured of routers (`trim.server.menu.read_curve`); the lineup's own
            where None.
        keep_texts: keep questions and answers, not only what they cost.
    """

    host: str
    port: int
    database: str
    limits: Limits
    policy: str | None = None
    curve: Path | None = None
    keep_texts: bool = False
    log_format: LogFormat = LogFormat.TEXT


class Server(uvicorn.Server):
    """Ends by SIGINT and SIGTERM alike, once answers under way are finished and written."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            host, port = listening.getsockname()[:2]
            click.echo(f"trim: listening on http://{host}:{port}/v1", err=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own would end the process before the database is closed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def serve(lineup: Lineup, serving: Serving) -> None:
    """Answer until the process is told to stop; answers under way are finished first.

    Raises:
        InvalidInput: a wrong policy, curve or database, an address that cannot be listened on, or
            one that others reach while there is no key; a model that does not work.
        ModelUnavailable: a server does not answer.
    """
    begin_journal(serving.log_format)
    usual = serving.policy or lineup.policy or USUAL_POLICY
    curve = serving.curve or lineup.curve
    menu = Menu(usual, lineup.routers, read_curve(curve) if curve else ())
    listening = listen(serving.host, serving.port)
    team = lineup.load()
    # What is there now stays: to look through it again would hold up all streams for 0.1 s.
    gc.collect()
    gc.freeze()

    async def answer() -> None:
        accounts = await open_accounts(serving.database, lineup.prices, serving.keep_texts)
        try:
            if accounts.open and serving.host not in LOOPBACK:
                raise InvalidInput(
                    f"--host {serving.host}: without keys only this machine may ask; make one with"
                    " `trim keys create NAME`"
                )
            service = Service(lineup, team, menu, serving.limits, accounts)
            server = Server(settings(service))
            await server.serve([listening])
        finally:
            await accounts.close()

    asyncio.run(answer())


def settings(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        Journal(make_app(service)),
        http=partial(Connection, service.limits),  # type: ignore[arg-type]
        log_config=None,
        log_level="warning",
        access_log=False,
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
