"""Solves a set of problems with every policy, and keeps each trace as it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trim.evaluation.store import TraceStore
from trim.evaluation.suites import Problem
from trim.models.model import Model, Sampling
from trim.models.shared import SharedModel, SharedScorer
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.oracle import OracleQuery
from trim.policies.policy import Policy
from trim.router import Router
from trim.scorers.choice import choose_scorer
from trim.scorers.scorer import Scorer
from trim.trace import Trace


@dataclass(frozen=True)
class Evaluation:
    """What is solved, by whom, and how.

    Attributes:
        problems: solved in this order, `concurrency` of them at a time.
        policies: each solves every problem, on the same random numbers.
        scorer: of every policy that is not made for one kind of score.
        seed: of the sampling.
        share_prefixes: compute a step once for all policies that reach the same prefix.
        scorers: by kind, for the policies that are made for one.
        max_strong_tokens: of each policy and problem (`trim.router.Router`).
    """

    problems: Sequence[Problem]
    policies: Sequence[Policy]
    weak: Model
    strong: Model
    scorer: Scorer | None
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int = 30
    concurrency: int = 16
    share_prefixes: bool = True
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    max_strong_tokens: int | None = None

    def __post_init__(self) -> None:
        for policy in self.policies:
            choose_scorer(policy, self.scorer, self.scorers)

    async def run(self, store: TraceStore, progress: Callable[[], None] = lambda: None) -> None:
        """Solve what `store` does not hold yet; `progress` is called after each problem.

        Interrupted at any moment, the store holds every problem finished so far.
        """
        missing = iter([p for p in self.problems if p.id not in store.finished])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._solve_each(missing, store, progress))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _solve_each(
        self, problems: Iterator[Problem], store: TraceStore, progress: Callable[[], None]
    ) -> None:
        for problem in problems:
            store.add(problem.id, await self.solve(problem))
            progress()

    async def solve(self, problem: Problem) -> list[Trace]:
        """One problem by every policy, in the order of `policies`."""
        router = Router(
            self.weak, self.strong, self.scorer, WeakAlone(), self.sampling, self.max_steps
        )
        if self.share_prefixes:
            router = replace(router, weak=SharedModel(self.weak), strong=SharedModel(self.strong))
        shared: dict[int, Scorer] = {}

        def scorer_of(policy: Policy) -> Scorer | None:
            scorer = choose_scorer(policy, self.scorer, self.scorers)
            if scorer is None or not self.share_prefixes:
                return scorer
            return shared.setdefault(id(scorer), SharedScorer(scorer))

        for policy in self.policies:
            if isinstance(policy, OracleQuery):
                await self._inform(policy, problem, router)
        limited = replace(router, max_strong_tokens=self.max_strong_tokens)
        solved = (
            replace(limited, policy=policy, scorer=scorer_of(policy)).asolve(
                problem.question, self.seed
            )
            for policy in self.policies
        )
        return [grade(trace, problem) for trace in await asyncio.gather(*solved)]

    async def _inform(self, oracle: OracleQuery, problem: Problem, router: Router) -> None:
        weak, strong = [
            grade(await replace(router, policy=p).asolve(problem.question, self.seed), problem)
            for p in (WeakAlone(), StrongAlone())
        ]
        if strong.correct and not weak.correct:
            oracle.strong_only.add(problem.question)


def grade(trace: Trace, problem: Problem) -> Trace:
    """The trace with its problem, and whether the answer is right (as text)."""
    return replace(trace, problem_id=problem.id, correct=trace.answer == problem.answer)
