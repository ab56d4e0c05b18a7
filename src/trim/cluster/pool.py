"""Workers on a Ray cluster: problems are handed to them, and again where one of them dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from trim.cluster.worker import Task, Worker, raise_failure
from trim.errors import InvalidInput, ModelUnavailable, require_extra

TRIES = 3
"""Workers that may die of a problem before it is given up."""
PATIENCE = 120.0
"""Seconds that a run waits for a worker where there is none."""
CONNECT = 5.0


class Deadly(Exception):
    """A problem whose workers have died again and again."""


@dataclass
class Member:
    """A worker, and how many problems it has."""

    actor: Any
    load: int = 0


class Pool:
    """The workers of a run. Use it as an asynchronous context.

    Args:
        address: of the cluster, as `ray.init` takes it, or `local` for one on this machine.
        count: of workers; None for one on each node.
        concurrency: problems that a worker has at a time.
    """

    def __init__(
        self, task: Task, address: str, count: int | None = None, concurrency: int = 16
    ) -> None:
        self.task = task
        self.address = address
        self.count = count
        self.concurrency = concurrency
        self._members: list[Member] = []
        self._arriving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def room(self) -> int:
        """Problems that all workers together may have."""
        return self.concurrency * (self.count or 1)

    async def __aenter__(self) -> Pool:
        self.ray = connected(self.address)
        if self.count is None:
            nodes = self.ray.nodes()
            able = [n for n in nodes if n["Alive"] and n["Resources"].get("CPU", 0) >= 1]
            self.count = max(1, len(able))
        for _ in range(self.count):
            self._invite()
        try:
            await self._wait()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for arriving in self._arriving:
            arriving.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)
        for member in self._members:
            self.ray.kill(member.actor)
        self.ray.shutdown()

    async def solve(self, problem: str) -> dict[str, Any]:
        """What `Worker.solve` answers. Raises `Deadly`, or what the worker met."""
        answer: dict[str, Any] = json.loads(await self._ask("solve", problem))
        raise_failure(answer)
        return answer

    async def explore(self, problem: str) -> tuple[dict[str, Any], bytes]:
        """What `Worker.explore` answers. Raises `Deadly`, or what the worker met."""
        text, content = await self._ask("explore", problem)
        answer: dict[str, Any] = json.loads(text)
        raise_failure(answer)
        return answer, content

    async def _ask(self, method: str, problem: str) -> Any:
        for _ in range(TRIES):
            async with self._member() as member:
                try:
                    return await getattr(member.actor, method).remote(problem)
                except self.ray.exceptions.RayTaskError:
                    raise  # A mistake in the code, which another worker would make as well.
                except self.ray.exceptions.RayError:
                    self._lose(member)
        raise Deadly(f"the workers that had it died, {TRIES} times")

    @contextlib.asynccontextmanager
    async def _member(self) -> AsyncIterator[Member]:
        await self._wait()
        member = min(self._members, key=lambda member: member.load)
        member.load += 1
        try:
            yield member
        finally:
            member.load -= 1

    async def _wait(self) -> None:
        """Until there is a worker. Raises ModelUnavailable where none comes."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not self._members:
            if self._failure:
                raise self._failure
            self._changed.clear()
            left = deadline - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._changed.wait(), max(left, 0))
            except TimeoutError as error:
                raise ModelUnavailable(
                    f"--ray {self.address}: no worker within {PATIENCE:.0f} s; the cluster needs a"
                    " node with a free CPU and this version of trim"
                ) from error

    def _lose(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self.ray.kill(member.actor)
            self._invite()

    def _invite(self) -> None:
        """Start a worker; it is given problems when it is ready."""
        actor = (
            self.ray.remote(Worker)
            .options(num_cpus=1, max_concurrency=2 * self.concurrency, scheduling_strategy="SPREAD")
            .remote(self.task.to_json())
        )
        arriving = asyncio.create_task(self._welcome(actor))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _welcome(self, actor: Any) -> None:
        try:
            wrong = await actor.ready.remote()
            raise_failure(json.loads(wrong) if wrong else {})
            self._members.append(Member(actor))
        except self.ray.exceptions.RayError as error:
            reason = str(error).splitlines()[0]
            self._failure = ModelUnavailable(f"a worker did not start: {reason}")
        except (InvalidInput, ModelUnavailable) as error:
            self._failure = error
        finally:
            self._changed.set()


def connected(address: str) -> Any:
    """Ray, connected. Raises InvalidInput where there is no cluster; MissingExtra without Ray."""
    with require_extra("--ray"):
        import ray
        import ray.exceptions
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT).close()
        except OSError as error:
            raise InvalidInput(
                f"--ray {address}: nothing answers there ({error.strerror or error})"
            ) from error
    try:
        ray.init(
            address=None if address == "local" else address,
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if address == "local" else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"--ray {address}: no cluster there ({reason})") from error
    return ray
