"""Several worker processes behind one port, supervised by uvicorn."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress

import click
import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from trim.errors import InvalidInput, TrimError
from trim.server.metrics import FOLDER_VARIABLE
from trim.terminal import one_line

PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a worker that could not start is tried again; doubled each time."""
INTERVAL = 0.5
"""Seconds between uvicorn's checks of the workers."""
SILENCE = 30.0
"""Seconds without a heartbeat after which a worker is killed."""
FLUSH_SECONDS = 10.0
"""Seconds that a worker may take to stop after its last answer."""

Work = Callable[[Callable[[], None], Callable[[], None]], None]
"""The work of a process, called with `on_ready` and `heartbeat` (`trim.server.run.run_server`)."""


def supervise(count: int, work: Work, on_ready: Callable[[], None], shutdown: float) -> None:
    """Run workers until SIGINT, SIGTERM or SIGHUP.

    Args:
        on_ready: called once all workers accept requests.
        shutdown: seconds for answers in progress to finish.

    Raises:
        InvalidInput: a worker cannot start. Later, one that cannot start is tried again.
    """
    with tempfile.TemporaryDirectory(prefix="trim-metrics-") as folder:
        # Read by `prometheus_client` when a worker imports it.
        os.environ[FOLDER_VARIABLE] = folder
        config = uvicorn.Config("", workers=count, log_config=None, log_level="warning")
        supervisor = Supervisor(config, work, on_ready, shutdown)
        supervisor.run()
        if supervisor.failure:
            raise InvalidInput(supervisor.failure)


class Worker(Process):
    """A worker process, whose event loop sends heartbeats through the pipe.

    Uvicorn's own asks a thread, which answers even if the event loop hangs, and waits for it.

    Args:
        pause: seconds to wait in the process before the work.

    Attributes:
        ready: whether it accepts requests.
    """

    def __init__(self, config: uvicorn.Config, work: Work, pause: float) -> None:
        super().__init__(config, [])
        self.work = work
        self.pause = pause
        self.ready = False
        self._silent = 0

    def start(self) -> None:
        # A terminal sends these to all processes; the supervisor stops the workers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.child_conn.close()  # So the end of the process ends the pipe.

    def target(self, sockets: object = None) -> None:
        """The work of the process. An empty message is a heartbeat, any other an error."""

        def heartbeat() -> None:
            with suppress(OSError):
                self.child_conn.send_bytes(b"")

        time.sleep(self.pause)
        try:
            self.work(heartbeat, heartbeat)
        except TrimError as error:
            self.child_conn.send_bytes(str(error).encode())
            sys.exit(2)

    def check(self) -> str | None:
        """Read its messages. Returns why it must be replaced, None if it works.

        Missing heartbeats are counted by checks, since the supervisor itself may be held up.
        """
        self._silent += 1
        try:
            while self.parent_conn.poll():
                if message := self.parent_conn.recv_bytes():
                    return message.decode()
                self.ready, self._silent = True, 0
        except (EOFError, OSError):
            self.join()
            return f"ended with code {self.exitcode}"
        if self.ready and self._silent * INTERVAL > SILENCE:
            return f"gave no sign of life for {SILENCE:g} s"
        return None


class Supervisor(Multiprocess):
    """Uvicorn's supervisor, which reports what it replaces and ends hanging workers.

    Attributes:
        failure: why the server could not start; None if it did.
    """

    processes: list[Worker]  # type: ignore[assignment]

    def __init__(
        self, config: uvicorn.Config, work: Work, on_ready: Callable[[], None], shutdown: float
    ) -> None:
        hung_up = signal.getsignal(signal.SIGHUP)
        super().__init__(config, [])
        if hung_up is signal.SIG_IGN:  # Under `nohup`.
            signal.signal(signal.SIGHUP, hung_up)
        self.work = work
        self.on_ready = on_ready
        self.shutdown = shutdown
        self.started = False
        self.failure: str | None = None

    def new_worker(self, pause: float = 0.0) -> Worker:
        worker = Worker(self.config, self.work, pause)
        worker.start()
        return worker

    def init_processes(self) -> None:
        self.processes = [self.new_worker() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            reason = worker.check()
            if reason is None:
                continue
            self.remove(worker)
            if not self.started:
                self.failure = reason
                self.should_exit.set()
                return
            click.echo(one_line(f"trim: worker {worker.pid} is replaced: {reason}"), err=True)
            pause = 0.0 if worker.ready else min(max(PAUSE, 2 * worker.pause), LONGEST_PAUSE)
            self.processes[index] = self.new_worker(pause)
        if not self.started and all(worker.ready for worker in self.processes):
            self.started = True
            self.on_ready()

    def remove(self, worker: Worker) -> None:
        worker.kill()
        worker.join()
        mark_process_dead(worker.pid, os.environ[FOLDER_VARIABLE])  # type: ignore[no-untyped-call]

    def join_all(self) -> None:
        """Wait for all workers; kill those that take too long."""
        deadline = time.monotonic() + self.shutdown + FLUSH_SECONDS
        for worker in self.processes:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.exitcode is None:
                self.remove(worker)

    def handle_hup(self) -> None:
        self.should_exit.set()

    def handle_ttin(self) -> None:
        """The number of workers is fixed."""

    def handle_ttou(self) -> None:
        """The number of workers is fixed."""
