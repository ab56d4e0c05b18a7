"""An evaluation in a folder: begun, or continued where it was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from trim.configuration.source import ModelSource
from trim.errors import ModelUnavailable
from trim.evaluation.bill import Bill
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.progress import RunProgress, Tally, call_periodically
from trim.evaluation.store import TraceStore
from trim.evaluation.summary import group_by_policy
from trim.files import write_atomically, writing
from trim.policies.policy import Policy
from trim.types import Finish, Trace

NO_FILES: Mapping[str, str] = MappingProxyType({})


class Runnable(Protocol):
    """An evaluation, wherever its problems are solved."""

    @property
    def policies(self) -> Sequence[Policy]: ...

    @property
    def problems(self) -> Sequence[Gradable]: ...

    async def run(self, store: TraceStore, progress: ProgressCallback) -> None:
        """Solver what the store does not hold yet."""
        ...


def solve_in_folder(
    folder: Path,
    run: Mapping[str, Any],
    evaluation: Runnable,
    progress: Callable[[RunProgress], None] = lambda standing: None,
    files: Mapping[str, str] = NO_FILES,
    bill: Bill | None = None,
) -> dict[str, list[Trace]]:
    """Solver what the folder does not hold yet; the traces by policy, in the problems' order.

    Where the evaluation ends early (`Evaluation.may_begin`), they are those of fewer problems.

    Args:
        run: what says which run it is, besides its policies (`TraceStore`).
        progress: told how far the run is, at its begin, after each problem, and regularly while
            problems are under way.
        files: contents by name that the folder keeps besides, once it is known to be this run's.
        bill: what is paid, which is kept in the folder as well, however the run ends.

    Raises:
        InvalidInput: the folder cannot be written, or holds another run.
    """
    policies = [policy.name for policy in evaluation.policies]
    store = TraceStore(folder, {**run, "policies": policies})
    with ExitStack() as held:
        held.callback(store.close)
        for name, content in files.items():
            with writing(folder / name):
                write_atomically(folder / name, content)
        tally = Tally(policies)
        tally.add(store.read() if store.finished else ())
        if bill:
            bill.recover()
            held.callback(bill.save)

        def tell() -> None:
            progress(tally.progress(len(store.finished), bill))

        def keep(traces: list[Trace]) -> None:
            tally.add(traces)
            if bill:
                bill.save()
            tell()

        async def solve() -> None:
            async with call_periodically(tell):
                await evaluation.run(store, keep)

        keep([])
        asyncio.run(solve())
    return group_by_policy(store.read(), [problem.id for problem in evaluation.problems])


FAILED_IN_A_ROW = 8
"""Problems that every policy failed, one after the other, before a run stops."""


Solver = Callable[[Gradable], Awaitable[list[Trace]]]


ProgressCallback = Callable[[list[Trace]], None]


async def solve_all(
    problems: Sequence[Gradable],
    solve: Solver,
    store: TraceStore,
    concurrency: int,
    progress: ProgressCallback = lambda traces: None,
    may_begin: Callable[[], bool] = lambda: True,
) -> None:
    """Solver what `store` does not hold yet; `progress` is told each problem's traces.

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
    solve: Solver,
    store: TraceStore,
    concurrency: int,
    progress: ProgressCallback,
    may_begin: Callable[[], bool],
    last_try: bool = False,
) -> list[Gradable]:
    """Solver problems and return those that every policy failed, unless it is the last try.

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


@dataclass(frozen=True)
class EvaluationRequest:
    """What an evaluation was asked for, as on its command line.

    Attributes:
        specs: the policies.
        scorer: the kind of score; None where the lineup has none.
    """

    problem_set: ProblemSet
    specs: tuple[str, ...]
    seed: int
    scorer: str | None
    exact: bool
    max_strong_tokens: int | None


class RemoteExecutor(Protocol):
    """Other processes."""

    def evaluation(
        self,
        lineup: ModelSource,
        asked: EvaluationRequest,
        policies: Sequence[Policy],
        bill: Bill,
        may_begin: Callable[[], bool],
    ) -> Runnable:
        """An evaluation whose problems they solve."""
        ...
