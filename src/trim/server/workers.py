"""Several processes behind one port: started together, replaced where one dies or hangs, ended
together."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import click
from prometheus_client.multiprocess import mark_process_dead

from trim.errors import InvalidInput, TrimError
from trim.server.metrics import FOLDER_VARIABLE

PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a worker is replaced; doubled where its successor cannot begin either."""
BEAT, SILENCE = 1.0, 30
"""Seconds between a worker's signs of life, and how many may be missing before it is killed."""
SPAWN = multiprocessing.get_context("spawn")
READY = ""

Work = Callable[..., None]
Beats = ctypes.c_ulong


def supervise(
    count: int, work: Work, arguments: tuple[Any, ...], ready: Callable[[], None]
) -> None:
    """Have `count` processes at work until this one is told to stop, by SIGINT or SIGTERM.

    Args:
        work: called in each process with `arguments` and with two functions: it calls the first as
            soon as it takes requests, and the second every `BEAT` seconds from then to its end.
        ready: called once, when all of them do.

    Raises:
        InvalidInput: one of the first cannot begin, and why. A later one is tried again.
    """
    with tempfile.TemporaryDirectory(prefix="trim-metrics-") as folder:
        # Their figures meet there; `prometheus_client` looks for it when it is imported.
        os.environ[FOLDER_VARIABLE] = folder
        asyncio.run(Workers(work, arguments, folder).run(count, ready))


class Workers:
    """The processes of one server."""

    def __init__(self, work: Work, arguments: tuple[Any, ...], folder: str) -> None:
        self.work = work
        self.arguments = arguments
        self.folder = folder

    async def run(self, count: int, ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told.set)
        begun = [loop.create_future() for _ in range(count)]
        tasks = [
            asyncio.create_task(told.wait()),
            *(asyncio.create_task(self._keep(future)) for future in begun),
        ]
        announcing = asyncio.create_task(after(begun, ready))
        try:
            # The others never end by themselves, unless one cannot begin.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (announcing, *tasks):
                task.cancel()
            await asyncio.gather(announcing, *tasks, return_exceptions=True)

    async def _keep(self, begun: asyncio.Future[None]) -> None:
        """Have one process at work all the time; `begun` is set when the first of them is ready."""
        pause = PAUSE
        while True:
            async with self._started() as (process, line, beats):
                failure = await first_word(line)
                if failure == READY and not begun.done():
                    begun.set_result(None)
                if not begun.done():
                    raise InvalidInput(failure)
                how = failure or await end_of(process, beats)
                click.echo(f"trim: worker {process.pid} is replaced: {how}", err=True)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE) if failure else PAUSE

    @asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[SpawnProcess, Connection, Beats]]:
        """A process, what it says, and its signs of life; at the end it has finished its answers
        and is gone."""
        line, its_end = SPAWN.Pipe(duplex=False)
        beats = SPAWN.RawValue("L", 0)
        process = SPAWN.Process(target=begin, args=(self.work, self.arguments, its_end, beats))
        # A terminal sends SIGINT to all processes; the workers are told by this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        its_end.close()
        try:
            yield process, line, beats
        finally:
            process.terminate()
            await end_of(process, beats)
            mark_process_dead(process.pid, self.folder)  # type: ignore[no-untyped-call]
            process.close()
            line.close()


async def first_word(line: Connection) -> str:
    """`READY`, or why a worker cannot begin."""
    await readable(line.fileno())
    try:
        return line.recv_bytes().decode()
    except EOFError:
        return "a worker ended before it was ready"


async def end_of(process: SpawnProcess, beats: Beats) -> str:
    """How a process came to its end: by itself, or killed for it gave no sign of life.

    Silence is counted and not timed, for this process may itself have been held up.
    """
    seen, silent = beats.value, 0
    while silent < SILENCE:
        try:
            async with asyncio.timeout(BEAT):
                await readable(process.sentinel)
            process.join()
            return f"ended with code {process.exitcode}"
        except TimeoutError:
            silent = silent + 1 if beats.value == seen else 0
            seen = beats.value
    process.kill()
    process.join()
    return f"gave no sign of life for {SILENCE * BEAT:.0f} s"


def begin(work: Work, arguments: tuple[Any, ...], line: Connection, beats: Beats) -> None:
    """What a worker does; through `line` it says once that it is ready, or why it cannot be."""

    def beat() -> None:
        beats.value += 1

    try:
        work(*arguments, lambda: line.send_bytes(READY.encode()), beat)
    except TrimError as error:
        line.send_bytes(str(error).encode())
        sys.exit(2)


async def after(futures: list[asyncio.Future[None]], call: Callable[[], None]) -> None:
    await asyncio.gather(*futures)
    call()


async def readable(descriptor: int) -> None:
    """Until there is something to read; of a process's sentinel, until it has ended."""
    loop = asyncio.get_running_loop()
    found = asyncio.Event()
    loop.add_reader(descriptor, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(descriptor)
