"""A Ray cluster as the place where problems are solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

from trim.cluster.pool import Deadly, Pool
from trim.cluster.worker import Task, describe, problem_to_json
from trim.configuration.source import ModelSource
from trim.errors import ModelUnavailable
from trim.evaluation.bill import Bill
from trim.evaluation.execution import EvaluationRequest, ProgressCallback, solve_all
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.store import TraceStore
from trim.policies.policy import Policy
from trim.rollouts.collect import Place
from trim.rollouts.record import RecordedProblem
from trim.rollouts.store import decode
from trim.types import Finish, Trace


@dataclass(frozen=True)
class ClusterEvaluation:
    """As `trim.evaluation.run.Evaluation`, with workers elsewhere; results land here, once."""

    problems: Sequence[Gradable]
    policies: Sequence[Policy]
    pool: Pool
    bill: Bill
    may_start: Callable[[], bool] = lambda: True

    async def run(
        self, store: TraceStore, progress: ProgressCallback = lambda traces: None
    ) -> None:
        """Solve what `store` does not hold yet."""
        if all(problem.id in store.finished for problem in self.problems):
            return
        async with self.pool:
            await solve_all(
                self.problems, self.solve, store, self.pool.room, progress, self.may_start
            )

    async def solve(self, problem: Gradable) -> list[Trace]:
        try:
            answer = await self.pool.solve(problem_to_json(problem))
        except Deadly as deadly:
            question, seed = problem.question.strip(), self.pool.task.seed
            return [
                Trace(
                    question,
                    policy.name,
                    seed,
                    finish=Finish.FAILED,
                    problem_id=problem.id,
                    correct=False,
                    failure=str(deadly),
                )
                for policy in self.policies
            ]
        self.bill.merge(answer["bill"])
        return [Trace.from_json(record) for record in answer["traces"]]


@dataclass(frozen=True)
class ClusterExplorer:
    """As `trim.rollouts.explorer.Explorer`, with workers elsewhere."""

    pool: Pool
    bill: Bill

    async def __aenter__(self) -> ClusterExplorer:
        await self.pool.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.pool.__aexit__(*error)

    async def explore(self, problem: Gradable) -> RecordedProblem:
        """Raises ModelUnavailable for a problem of which workers die."""
        try:
            answer, content = await self.pool.explore(problem_to_json(problem))
        except Deadly as deadly:
            raise ModelUnavailable(f"problem {problem.id}: {deadly}") from deadly
        self.bill.merge(answer["bill"])
        (recorded,) = decode(BytesIO(content))
        return recorded


@dataclass(frozen=True)
class RayCluster:
    """Other processes (`trim.evaluation.execution.RemoteExecutor`) on a cluster.

    Attributes:
        address: as `ray.init` takes it, or `local` for a cluster on this machine.
        workers: how many; None for one on each node.
    """

    address: str
    workers: int | None = None

    def evaluation(
        self,
        lineup: ModelSource,
        request: EvaluationRequest,
        policies: Sequence[Policy],
        bill: Bill,
        may_start: Callable[[], bool],
    ) -> ClusterEvaluation:
        problem_set = request.problem_set
        task = Task(
            describe(lineup),
            problem_set.name if problem_set.is_right else None,
            request.seed,
            request.scorer,
            request.specs,
            request.exact,
            request.max_strong_tokens,
        )
        pool = self.pool(task, lineup)
        return ClusterEvaluation(problem_set.problems, policies, pool, bill, may_start)

    def explorer(
        self,
        lineup: ModelSource,
        problem_set: ProblemSet,
        seed: int,
        scorer: str,
        rollouts: int,
        exact: bool,
        bill: Bill,
    ) -> Place:
        suite = problem_set.name if problem_set.is_right else None
        task = Task(describe(lineup), suite, seed, scorer, (), exact, rollouts=rollouts)
        pool = self.pool(task, lineup)
        return Place(ClusterExplorer(pool, bill), lambda: pool.room)

    def pool(self, task: Task, lineup: ModelSource) -> Pool:
        """The workers of a run, which are started when it is entered."""
        return Pool(task, self.address, self.workers, lineup.concurrency)
