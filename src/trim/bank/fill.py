"""Explores problems, many at a time, and keeps each as it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from trim.bank.record import RecordedProblem
from trim.bank.store import BankStore
from trim.evaluation.problem_set import Gradable

CONCURRENCY = 16
"""Problems under way together."""


class Exploring(Protocol):
    """Who explores a problem, here or elsewhere."""

    async def explore(self, problem: Gradable) -> RecordedProblem: ...


async def fill(
    store: BankStore,
    explorer: Exploring,
    problems: Iterator[Gradable],
    progress: Callable[[], None] = lambda: None,
    concurrency: int = CONCURRENCY,
    may_begin: Callable[[], bool] = lambda: True,
) -> None:
    """Explore the problems; `progress` is called after each.

    Interrupted, the store holds every problem finished so far.

    Args:
        may_begin: asked before each problem; where it says no, no further one is begun.
    """

    async def explore_each() -> None:
        while may_begin():
            problem = next(problems, None)
            if problem is None:
                return
            store.add(await explorer.explore(problem))
            progress()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(explore_each())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        store.flush()
        progress()
