"""Many problems at a time: each is begun once, and once more where everything failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from trim.errors import ModelUnavailable
from trim.evaluation.problem_set import Gradable
from trim.evaluation.store import TraceStore
from trim.types import Finish, Trace

FAILED_IN_A_ROW = 8
"""Problems that every policy failed, one after the other, before a run stops."""

Solve = Callable[[Gradable], Awaitable[list[Trace]]]
Tell = Callable[[list[Trace]], None]


async def solve_all(
    problems: Sequence[Gradable],
    solve: Solve,
    store: TraceStore,
    concurrency: int,
    progress: Tell = lambda traces: None,
    may_begin: Callable[[], bool] = lambda: True,
) -> None:
    """Solve what `store` does not hold yet; `progress` is told each problem's traces.

    Args:
        concurrency: problems under way together.
        may_begin: asked before each problem; where it says no, no further one is begun.

    Raises:
        ModelUnavailable: nothing answers any more.
    """
    missing = [problem for problem in problems if problem.id not in store.finished]
    failed = await solve_each(missing, solve, store, concurrency, progress, may_begin)
    # What failed at first may have been a server's bad moment; now it counts.
    await solve_each(failed, solve, store, concurrency, progress, may_begin, last_try=True)


async def solve_each(
    problems: Sequence[Gradable],
    solve: Solve,
    store: TraceStore,
    concurrency: int,
    progress: Tell,
    may_begin: Callable[[], bool],
    last_try: bool = False,
) -> list[Gradable]:
    """Solve problems and return those that every policy failed, unless it is the last try.

    Raises:
        ModelUnavailable: so many in a row that the others would fail as well.
    """
    failed: list[Gradable] = []
    in_a_row = 0
    left = iter(problems)

    async def work() -> None:
        nonlocal in_a_row
        for problem in left:
            if not may_begin():
                return
            traces = await solve(problem)
            if not all(trace.finish is Finish.FAILED for trace in traces):
                in_a_row = 0
            else:
                in_a_row += 1
                if in_a_row == FAILED_IN_A_ROW:
                    raise ModelUnavailable(
                        f"{in_a_row} problems in a row failed: {traces[-1].failure}; the same"
                        " command goes on"
                    )
                if not last_try:
                    failed.append(problem)
                    continue
            store.add(problem.id, traces)
            progress(traces)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return failed
