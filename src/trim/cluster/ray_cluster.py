"""A Ray cluster as the place where problems are solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trim.bank.collect import Place
from trim.cluster.evaluation import ClusterEvaluation
from trim.cluster.explorer import ClusterExplorer
from trim.cluster.pool import Pool
from trim.cluster.task import Task, describe
from trim.evaluation.bill import Bill
from trim.evaluation.elsewhere import Asked
from trim.evaluation.problem_set import ProblemSet
from trim.lineup import Lineup
from trim.policies.policy import Policy


@dataclass(frozen=True)
class RayCluster:
    """Other processes (`trim.evaluation.elsewhere.Elsewhere`) on a cluster.

    Attributes:
        address: as `ray.init` takes it, or `local` for a cluster on this machine.
        workers: how many; None for one on each node.
    """

    address: str
    workers: int | None = None

    def evaluation(
        self,
        lineup: Lineup,
        asked: Asked,
        policies: Sequence[Policy],
        bill: Bill,
        may_begin: Callable[[], bool],
    ) -> ClusterEvaluation:
        problem_set = asked.problem_set
        task = Task(
            describe(lineup),
            problem_set.name if problem_set.is_right else None,
            asked.seed,
            asked.scorer,
            asked.specs,
            asked.exact,
            asked.max_strong_tokens,
        )
        pool = self.pool(task, lineup)
        return ClusterEvaluation(problem_set.problems, policies, pool, bill, may_begin)

    def explorer(
        self,
        lineup: Lineup,
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

    def pool(self, task: Task, lineup: Lineup) -> Pool:
        """The workers of a run, which are started when it is entered."""
        return Pool(task, self.address, self.workers, lineup.settings.concurrency)
