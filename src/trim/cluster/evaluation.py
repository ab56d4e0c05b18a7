"""An evaluation whose problems are solved on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trim.cluster.pool import Deadly, Pool
from trim.cluster.task import problem_to_json
from trim.evaluation.bill import Bill
from trim.evaluation.problem_set import Gradable
from trim.evaluation.schedule import Tell, solve_all
from trim.evaluation.store import TraceStore
from trim.policies.policy import Policy
from trim.trace import Finish, Trace


@dataclass(frozen=True)
class ClusterEvaluation:
    """As `trim.evaluation.run.Evaluation`, with workers elsewhere; results land here, once."""

    problems: Sequence[Gradable]
    policies: Sequence[Policy]
    pool: Pool
    bill: Bill
    may_begin: Callable[[], bool] = lambda: True

    async def run(self, store: TraceStore, progress: Tell = lambda traces: None) -> None:
        """Solve what `store` does not hold yet."""
        if all(problem.id in store.finished for problem in self.problems):
            return
        async with self.pool:
            await solve_all(
                self.problems, self.solve, store, self.pool.room, progress, self.may_begin
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
        self.bill.take_over(answer["bill"])
        return [Trace.from_json(record) for record in answer["traces"]]
