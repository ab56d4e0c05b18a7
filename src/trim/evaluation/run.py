"""Solves a set of problems with every policy, and keeps each trace as it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trim.errors import ContextExceeded
from trim.evaluation.grading.workers import Workers
from trim.evaluation.problem_set import Gradable
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
from trim.steps import MAX_STEPS
from trim.trace import Finish, Trace


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
        grading: says which answers are right.
        keep_too_long: keep a question that does not fit a model's context as an unfinished
            trace without steps, instead of ending the run.
    """

    problems: Sequence[Gradable]
    policies: Sequence[Policy]
    weak: Model
    strong: Model
    scorer: Scorer | None
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int = MAX_STEPS
    concurrency: int = 16
    share_prefixes: bool = True
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    max_strong_tokens: int | None = None
    grading: Workers = field(default_factory=Workers)
    keep_too_long: bool = False

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
        self, problems: Iterator[Gradable], store: TraceStore, progress: Callable[[], None]
    ) -> None:
        for problem in problems:
            store.add(problem.id, await self.solve(problem))
            progress()

    async def solve(self, problem: Gradable) -> list[Trace]:
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
            self._solve(replace(limited, policy=policy, scorer=scorer_of(policy)), problem)
            for policy in self.policies
        )
        return list(await asyncio.gather(*solved))

    async def _solve(self, router: Router, problem: Gradable) -> Trace:
        try:
            trace = await router.asolve(problem.question, self.seed)
        except ContextExceeded:
            if not self.keep_too_long:
                raise
            question = problem.question.strip()
            trace = Trace(question, router.policy.name, self.seed, finish=Finish.CONTEXT)
        correct = await self.grading.agrade(problem.grader, trace.answer, problem.answer)
        return replace(trace, problem_id=problem.id, correct=correct)

    async def _inform(self, oracle: OracleQuery, problem: Gradable, router: Router) -> None:
        weak, strong = [
            await self._solve(replace(router, policy=policy), problem)
            for policy in (WeakAlone(), StrongAlone())
        ]
        if strong.correct and not weak.correct:
            oracle.strong_only.add(weak.question)


def grade(trace: Trace, problem: Problem) -> Trace:
    """The trace with its problem of a suite, and whether the answer is right."""
    return replace(trace, problem_id=problem.id, correct=trace.answer == problem.answer)
