"""Workers on a Ray cluster: a pool that replaces dead workers and retries their problems.

Ray's own parts do not do this. `ray.util.ActorPool` is blocking, gives each actor one task at a
time and keeps dead actors; an actor's `max_restarts` and `max_task_retries` bind a problem to one
actor, so it waits for a free CPU after a node has died while other workers are idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from trim.cluster.worker import Task, Worker, raise_error
from trim.errors import InvalidInput, ModelUnavailable, TrimError, require_extra

MAX_ATTEMPTS = 3
"""Workers that may die of a problem before it fails."""
MAX_STARTS = 3
"""Starts of a worker that dies before it is ready, after which it is given up."""
START_TIMEOUT = 120.0
"""Seconds that a run waits while it has no worker."""
CONNECT_TIMEOUT = 5.0
"""Seconds to connect to the cluster's address."""


class WorkersDied(Exception):
    """A problem failed because every worker that had it died."""


@dataclass
class PooledWorker:
    """A worker and the number of its problems."""

    actor: Any
    running: int = 0


class WorkerPool:
    """The workers of a run, an asynchronous context manager.

    Args:
        address: of the cluster, as in `ray.init`, or `local` for a cluster on this machine.
        count: number of workers; None for one per node.
        concurrency: problems per worker at a time.
        warn: called with a line when a worker is given up.
    """

    def __init__(
        self,
        task: Task,
        address: str,
        count: int | None = None,
        concurrency: int = 16,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.task = task
        self.address = address
        self.count = count
        self.concurrency = concurrency
        self.warn = warn
        self._workers: list[PooledWorker] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()  # Problems get workers in the order in which they asked.
        self._given_up = 0
        self._failure: Exception | None = None

    @property
    def capacity(self) -> int:
        """Number of problems that all workers together may have."""
        return self.concurrency * (self.count or 1)

    async def __aenter__(self) -> WorkerPool:
        self.ray = connect(self.address)
        if self.count is None:
            nodes = self.ray.nodes()
            able = [n for n in nodes if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
            self.count = max(1, len(able))
        for _ in range(self.count):
            self._start_worker()
        try:
            await self._wait_for_worker()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for starting in self._starting:
            starting.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for worker in self._workers:
            self.ray.kill(worker.actor)
        self.ray.shutdown()

    async def solve(self, problem: str) -> dict[str, Any]:
        """Call `Worker.solve`. Raises WorkersDied, or the worker's error."""
        result: dict[str, Any] = json.loads(await self._call("solve", problem))
        raise_error(result)
        return result

    async def record(self, method: str, problem: str) -> tuple[dict[str, Any], bytes]:
        """Call `Worker.explore` or `Worker.route`. Raises WorkersDied, or the worker's error."""
        text, content = await self._call(method, problem)
        result: dict[str, Any] = json.loads(text)
        raise_error(result)
        return result, content

    async def _call(self, method: str, problem: str) -> Any:
        for _ in range(MAX_ATTEMPTS):
            async with self._acquire() as worker:
                try:
                    return await getattr(worker.actor, method).remote(problem)
                except self.ray.exceptions.RayTaskError:
                    raise  # A bug in the code, which every worker would hit.
                except self.ray.exceptions.RayError:
                    self._replace(worker)
        raise WorkersDied(f"the workers that had it died, {MAX_ATTEMPTS} times")

    @contextlib.asynccontextmanager
    async def _acquire(self) -> AsyncIterator[PooledWorker]:
        """A worker with room for a problem."""
        async with self._turn:
            worker = await self._wait_for_room()
            worker.running += 1
        try:
            yield worker
        finally:
            worker.running -= 1
            self._changed.set()

    async def _wait_for_room(self) -> PooledWorker:
        """The least loaded worker, once it has fewer than `concurrency` problems.

        Raises as `_wait_for_worker`.
        """
        while True:
            await self._wait_for_worker()
            worker = min(self._workers, key=lambda worker: worker.running)
            if worker.running < self.concurrency:
                return worker
            self._changed.clear()
            await self._changed.wait()

    async def _wait_for_worker(self) -> None:
        """Wait until there is a worker.

        Raises:
            TrimError: no worker starts, or none within `START_TIMEOUT`.
        """
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT
        while not self._workers:
            if self._failure and self._given_up == self.count:
                raise self._failure
            self._changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._changed.wait(), max(left, 0))
            except TimeoutError as error:
                raise self._failure or ModelUnavailable(
                    f"--ray {self.address}: no worker within {START_TIMEOUT:.0f} s; the cluster"
                    " needs a node with a free CPU and this version of trim"
                ) from error

    def _replace(self, worker: PooledWorker) -> None:
        """Start another worker for a dead one, unless that was done already."""
        if worker in self._workers:
            self._workers.remove(worker)
            self.ray.kill(worker.actor)
            self._start_worker()

    def _start_worker(self) -> None:
        """Start a worker in the background; it gets problems once it is ready."""
        self._failure = None  # It was that of an earlier start.
        starting = asyncio.create_task(self._add_worker())
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)

    async def _add_worker(self) -> None:
        """Add a worker once it is ready; after `MAX_STARTS` deaths or an error, give it up."""
        try:
            for _ in range(MAX_STARTS):
                actor = self._create_actor()
                try:
                    error = await actor.ready.remote()
                    raise_error(json.loads(error) if error else {})
                    self._workers.append(PooledWorker(actor))
                    return
                except self.ray.exceptions.RayError as error:
                    reason = str(error).splitlines()[0]
                    self._failure = ModelUnavailable(f"a worker did not start: {reason}")
                except TrimError as error:
                    self.ray.kill(actor)  # It would keep its CPU from others.
                    self._failure = error
                    break
            self._give_up()
        finally:
            self._changed.set()

    def _give_up(self) -> None:
        """Go on without a worker that does not start."""
        self._given_up += 1
        left = (self.count or 1) - self._given_up
        if left:
            self.warn(f"{self._failure}; the run continues with {left} of {self.count} workers")

    def _create_actor(self) -> Any:
        return (
            self.ray.remote(Worker)
            .options(num_cpus=1, max_concurrency=2 * self.concurrency, scheduling_strategy="SPREAD")
            .remote(self.task.to_json())
        )


def connect(address: str) -> Any:
    """Connect to a cluster and return the module `ray`.

    Raises:
        InvalidInput: there is no cluster at the address.
        MissingExtra: Ray is not installed.
    """
    with require_extra("--ray"):
        import ray
        import ray.exceptions
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT).close()
        except OSError as error:
            raise InvalidInput(
                f"--ray {address}: cannot connect ({error.strerror or error})"
            ) from error
    try:
        ray.init(
            address=address,  # `local` starts a cluster even where RAY_ADDRESS names another.
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"--ray {address}: no cluster ({reason})") from error
    return ray
