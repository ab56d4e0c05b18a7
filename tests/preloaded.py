"""Commands in processes of their own, which are forked from one that has imported trim."""

import asyncio
import errno
import multiprocessing
import os
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

import quick_pictures

PATIENCE = 120.0
"""Seconds in which a command has to end."""

COMMANDS = ("studies", "collect", "evaluate", "keys", "serve", "solve")
PICTURES = (
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
)
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["pytest", *PICTURES, *(f"trim.cli.{name}" for name in COMMANDS)])


def run(words, environment, folder, output, errors, limit, stage, pictures):
    """What a process does: `stage` is called before the command, to stage a fault.

    Its pictures show nothing, unless they count: for `pictures`, or under a limit of size.
    """
    for path, number in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if not (limit or pictures):
        for module in quick_pictures.places():
            module.rendered = quick_pictures.nothing
    from trim.cli.main import main

    if stage:
        stage()
    main(words)


def die_at(name, number):
    """Have this process send itself a signal when it is about to put a file in place."""
    before_placing(name, lambda: os.kill(os.getpid(), number))


def die_after(problems, number):
    """Have this process send itself a signal when it has written the traces of so many problems."""
    from trim.evaluation.store import TraceStore

    add, written = TraceStore.add, count(1)

    def added(store, *traces):
        add(store, *traces)
        if next(written) == problems:
            os.kill(os.getpid(), number)

    TraceStore.add = added


def fill_disk_at(name):
    """Have this process find the disk full when it is about to put a file in place."""

    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before_placing(name, fail)


def before_placing(name, act):
    replace = Path.replace

    def replaced(partial, path):
        if path.match(name):
            act()
        return replace(partial, path)

    Path.replace = replaced


@dataclass
class Command:
    """One under way."""

    process: BaseProcess
    folder: Path

    @property
    def code(self):
        """None until it has ended; -9 where signal 9 ended it."""
        return self.process.exitcode

    def send(self, number):
        if self.code is None:
            os.kill(self.process.pid, number)

    @property
    def written(self):
        """What it has written to both outputs so far."""
        return tuple(
            (self.folder / name).read_text(encoding="utf-8") for name in ("output", "errors")
        )

    def address(self):
        """Of a server, once it listens."""
        deadline = time.monotonic() + PATIENCE
        while not self.written[1].endswith("\n"):
            assert self.code is None and time.monotonic() < deadline, self.written
            time.sleep(0.002)
        line = self.written[1]
        assert line.startswith("trim: listening on "), line
        return line.split()[-1]

    async def ended(self):
        """Its code, and what it wrote to both outputs."""
        async with asyncio.timeout(PATIENCE):
            while self.code is None:
                await asyncio.sleep(0.002)
        return self.code, *self.written


@contextmanager
def started(*words, limit=None, stage=None, pictures=False, cwd="."):
    """A command; `limit` is the size that a file may have."""
    with TemporaryDirectory() as name:
        folder, here = Path(name), Path(cwd).absolute()
        outputs = (folder / "output", folder / "errors")
        for path in outputs:
            path.touch()
        arguments = ([*map(str, words)], dict(os.environ), here, *outputs, limit, stage, pictures)
        process = FORKING.Process(target=run, args=arguments)
        process.start()
        try:
            yield Command(process, folder)
        finally:
            if process.is_alive():
                process.kill()
            process.join()


async def finished(*words, **options):
    with started(*words, **options) as command:
        return await command.ended()


def completed(*words, **options):
    """The same where no event loop runs."""
    return CompletedProcess(words, *asyncio.run(finished(*words, **options)))
