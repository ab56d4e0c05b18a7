"""Solve and record problems on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

from trim.cluster.pool import WorkerPool, WorkersDied
from trim.cluster.worker import Task, problem_to_json, source_to_json
from trim.configuration.source import ModelSource
from trim.errors import ModelUnavailable
from trim.evaluation.bill import Bill
from trim.evaluation.execution import EvaluationRequest, ProgressCallback, solve_all
from trim.evaluation.problem_set import Gradable
from trim.evaluation.store import TraceStore
from trim.grading.workers import Ungraded
from trim.policies.policy import Policy
from trim.rollouts.collect import CollectionRequest, RecorderSession
from trim.rollouts.record import RecordedProblem
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.routed_store import decode as decode_routed
from trim.rollouts.store import decode
from trim.types import Finish, Trace


@dataclass(frozen=True)
class ClusterEvaluation:
    """`trim.evaluation.run.Evaluation` on a cluster; this process stores the results.

    Attributes:
        report: called once with each answer that could not be graded.
        reported: those that it was called with.
    """

    problems: Sequence[Gradable]
    policies: Sequence[Policy]
    pool: WorkerPool
    bill: Bill
    may_start: Callable[[], bool] = lambda: True
    report: Callable[[Ungraded], None] = lambda ungraded: None
    reported: set[Ungraded] = field(default_factory=set)

    @property
    def concurrency(self) -> int:
        """Problems in progress at a time."""
        return self.pool.capacity

    async def run(
        self, store: TraceStore, progress: ProgressCallback = lambda traces: None
    ) -> None:
        """Solve the problems that `store` does not hold yet."""
        if all(problem.id in store.finished for problem in self.problems):
            return
        async with self.pool:
            await solve_all(
                self.problems, self.solve, store, self.concurrency, progress, self.may_start
            )

    async def solve(self, problem: Gradable) -> list[Trace]:
        try:
            result = await self.pool.solve(problem_to_json(problem))
        except WorkersDied as error:
            question, seed = problem.question.strip(), self.pool.task.seed
            return [
                Trace(
                    question,
                    policy.name,
                    seed,
                    finish=Finish.FAILED,
                    problem_id=problem.id,
                    correct=False,
                    failure=str(error),
                )
                for policy in self.policies
            ]
        self.bill.merge(result["bill"])
        self._report([Ungraded(**record) for record in result["ungraded"]])
        return [Trace.from_json(record) for record in result["traces"]]

    def _report(self, ungraded: Sequence[Ungraded]) -> None:
        """Report answers that could not be graded, each once: several workers may have met it."""
        for each in ungraded:
            if each not in self.reported:
                self.reported.add(each)
                self.report(each)


@dataclass(frozen=True)
class ClusterRecorder:
    """`trim.rollouts.collect.LocalRecorder` on a cluster."""

    pool: WorkerPool
    bill: Bill

    async def __aenter__(self) -> ClusterRecorder:
        await self.pool.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.pool.__aexit__(*error)

    async def explore(self, problem: Gradable) -> RecordedProblem:
        """Record one problem. Raises ModelUnavailable if its workers die."""
        (recorded,) = decode(await self._record("explore", problem))
        return recorded

    async def solve(self, problem: Gradable) -> Sequence[RoutedSolution]:
        """The solutions of the recorded policies. Raises ModelUnavailable if its workers die."""
        return decode_routed(await self._record("route", problem))

    async def _record(self, method: str, problem: Gradable) -> BytesIO:
        try:
            result, content = await self.pool.record(method, problem_to_json(problem))
        except WorkersDied as error:
            raise ModelUnavailable(f"problem {problem.id}: {error}") from error
        self.bill.merge(result["bill"])
        return BytesIO(content)


@dataclass(frozen=True)
class RayCluster:
    """Evaluates and collects on a cluster.

    Implements `trim.evaluation.execution.RemoteExecutor` and
    `trim.rollouts.collect.RemoteCollector`.

    Attributes:
        address: as in `ray.init`, or `local` for a cluster on this machine.
        workers: number of workers; None for one per node.
        warn: called with a line when a run goes on with fewer workers.
    """

    address: str
    workers: int | None = None
    warn: Callable[[str], None] = lambda text: None

    def evaluation(
        self,
        source: ModelSource,
        request: EvaluationRequest,
        policies: Sequence[Policy],
        bill: Bill,
        may_start: Callable[[], bool],
        report: Callable[[Ungraded], None],
    ) -> ClusterEvaluation:
        pool = self._make_pool(task_of(source, request), source)
        problems = request.problem_set.problems
        return ClusterEvaluation(problems, policies, pool, bill, may_start, report)

    def open_recorder(
        self, source: ModelSource, request: CollectionRequest, bill: Bill
    ) -> RecorderSession:
        task = replace(task_of(source, request), rollouts=request.rollouts)
        pool = self._make_pool(task, source)
        return RecorderSession(ClusterRecorder(pool, bill), lambda: pool.capacity)

    def _make_pool(self, task: Task, source: ModelSource) -> WorkerPool:
        """The workers of a run; entering the pool starts them."""
        return WorkerPool(task, self.address, self.workers, source.concurrency, self.warn)


def task_of(source: ModelSource, request: EvaluationRequest | CollectionRequest) -> Task:
    """The task of a run for its workers."""
    problem_set = request.problem_set
    return Task(
        source_to_json(source),
        problem_set.name if problem_set.is_right else None,
        request.seed,
        request.scorer,
        request.specs,
        request.exact,
        request.max_strong_tokens,
        folder=str(Path.cwd()),
    )
