"""Executing an evaluation: many problems at a time, into a folder, in this process or others."""

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
from trim.grading.workers import Ungraded
from trim.policies.policy import Policy
from trim.types import Finish, Trace

NO_FILES: Mapping[str, str] = MappingProxyType({})
ProgressCallback = Callable[[list[Trace]], None]
"""Called with the traces of each finished problem."""


class Runnable(Protocol):
    """An evaluation whose problems are solved in this process or in others."""

    @property
    def policies(self) -> Sequence[Policy]: ...

    @property
    def problems(self) -> Sequence[Gradable]: ...

    @property
    def concurrency(self) -> int:
        """Problems in progress at a time."""
        ...

    async def run(self, store: TraceStore, progress: ProgressCallback) -> None:
        """Solve the problems that are not in the store yet."""
        ...


def solve_in_folder(
    folder: Path,
    run: Mapping[str, Any],
    evaluation: Runnable,
    progress: Callable[[RunProgress], None] = lambda progress: None,
    files: Mapping[str, str] = NO_FILES,
    bill: Bill | None = None,
) -> dict[str, list[Trace]]:
    """Start or continue an evaluation in a folder; returns traces by policy, in problem order.

    If the evaluation ends early (`Evaluation.may_start`), traces of unsolved problems are missing.

    Args:
        run: identifies the run, except its policies (`TraceStore`).
        progress: called at the start, after each problem and about every second.
        files: further files for the folder, content by name.
        bill: saved in the folder, however the run ends.

    Raises:
        InvalidInput: the folder cannot be written, or holds another run.
    """
    policies = [policy.name for policy in evaluation.policies]
    problems = [problem.id for problem in evaluation.problems]
    store = TraceStore(folder, {**run, "policies": policies}, problems)
    with ExitStack() as cleanup:
        cleanup.callback(store.close)
        for name, content in files.items():
            with writing(folder / name):
                write_atomically(folder / name, content)
        tally = Tally(policies)
        tally.add(store.read() if store.finished else ())
        if bill:
            bill.recover()
            cleanup.callback(bill.save)

        def report() -> None:
            finished = len(store.finished)
            under_way = min(evaluation.concurrency, len(problems) - finished)
            progress(tally.progress(finished, bill, under_way))

        def record(traces: list[Trace]) -> None:
            tally.add(traces)
            if bill:
                bill.save()
            report()

        async def solve() -> None:
            async with call_periodically(report):
                await evaluation.run(store, record)

        record([])
        asyncio.run(solve())
    return group_by_policy(store.read(), problems)


FAILED_IN_A_ROW = 8
"""Consecutive problems that every policy failed, after which a run stops."""

Solver = Callable[[Gradable], Awaitable[list[Trace]]]


async def solve_all(
    problems: Sequence[Gradable],
    solve: Solver,
    store: TraceStore,
    concurrency: int,
    progress: ProgressCallback = lambda traces: None,
    may_start: Callable[[], bool] = lambda: True,
) -> None:
    """Solve the problems that are not in `store` yet.

    A problem that every policy failed is solved again at the end.

    Args:
        concurrency: number of problems in progress at a time.
        progress: called with the traces of each finished problem.
        may_start: called before each problem; False starts no further problem.

    Raises:
        ModelUnavailable: a model or the scorer does not answer any more.
    """
    missing = [problem for problem in problems if problem.id not in store.finished]
    failed = await solve_each(missing, solve, store, concurrency, progress, may_start)
    # The first failure may have been temporary; the second one counts.
    await solve_each(failed, solve, store, concurrency, progress, may_start, last_try=True)


async def solve_each(
    problems: Sequence[Gradable],
    solve: Solver,
    store: TraceStore,
    concurrency: int,
    progress: ProgressCallback,
    may_start: Callable[[], bool],
    last_try: bool = False,
) -> list[Gradable]:
    """Solve problems; returns those that every policy failed, unless it is the last try.

    Raises:
        ModelUnavailable: `FAILED_IN_A_ROW` consecutive problems failed.
    """
    failed: list[Gradable] = []
    in_a_row = 0
    left = iter(problems)

    async def work() -> None:
        nonlocal in_a_row
        for problem in left:
            if not may_start():
                return
            traces = await solve(problem)
            if not all(trace.finish is Finish.FAILED for trace in traces):
                in_a_row = 0
            else:
                in_a_row += 1
                if in_a_row == FAILED_IN_A_ROW:
                    raise ModelUnavailable(
                        f"{in_a_row} problems in a row failed: {traces[-1].failure}; repeat the"
                        " command to continue"
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
    """The options of an evaluation for other processes.

    Attributes:
        specs: the policies, as on the command line.
        scorer: kind of score; None if the models have no scorer.
    """

    problem_set: ProblemSet
    specs: tuple[str, ...]
    seed: int
    scorer: str | None
    exact: bool
    max_strong_tokens: int | None


class RemoteExecutor(Protocol):
    """Solves the problems of an evaluation in other processes."""

    def evaluation(
        self,
        source: ModelSource,
        request: EvaluationRequest,
        policies: Sequence[Policy],
        bill: Bill,
        may_start: Callable[[], bool],
        report: Callable[[Ungraded], None],
    ) -> Runnable:
        """The evaluation, executed in other processes.

        Args:
            report: called once with each answer that could not be graded.
        """
        ...
