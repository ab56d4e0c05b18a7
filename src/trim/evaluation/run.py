"""Solves a set of problems with every policy, and keeps each trace as it is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.engines.scheduler import begin_problem
from trim.errors import ContextExceeded
from trim.evaluation.problem_set import Gradable
from trim.evaluation.schedule import solve_all
from trim.evaluation.shared import SharedScorer, share
from trim.evaluation.store import TraceStore
from trim.grading.extraction import find_answer
from trim.grading.workers import GraderPool
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.oracle import OracleQuery
from trim.policies.policy import Policy, choose_scorer
from trim.router import Router
from trim.scorers.scorer import Scorer
from trim.types import Finish, Trace


@dataclass(frozen=True)
class Evaluation:
    """What is solved, by whom, and how.

    Attributes:
        problems: solved in this order, `concurrency` of them at a time.
        policies: each solves every problem, on the same random numbers.
        models: weak, intermediate and strong.
        scorer: of every policy that is not made for one kind of score.
        seed: of the sampling.
        config: of every router.
        concurrency: problems solved at a time.
        share_prefixes: compute a step once for all policies that reach the same prefix.
        scorers: by kind, for the policies that are made for one.
        grading: says which answers are right.
        keep_too_long: keep a question that does not fit a model's context as an unfinished
            trace without steps, instead of ending the run.
        may_begin: asked before each problem; where it says no, the run ends with what it has.
        takes_open_box: whether a box that is not closed holds an answer (`find_answer`).
    """

    problems: Sequence[Gradable]
    policies: Sequence[Policy]
    models: Models
    scorer: Scorer | None
    seed: int = 0
    config: RouterConfig = field(default_factory=RouterConfig)
    concurrency: int = 16
    share_prefixes: bool = True
    scorers: Mapping[str, Scorer] = field(default_factory=dict)
    grading: GraderPool = field(default_factory=GraderPool)
    keep_too_long: bool = False
    may_begin: Callable[[], bool] = lambda: True
    takes_open_box: bool = False

    def __post_init__(self) -> None:
        for policy in self.policies:
            choose_scorer(policy, self.scorer, self.scorers)

    async def run(
        self, store: TraceStore, progress: Callable[[list[Trace]], None] = lambda traces: None
    ) -> None:
        """Solve what `store` does not hold yet; `progress` is told each problem's traces.

        Interrupted at any moment, the store holds every problem finished so far. A problem that
        every policy failed is tried once more when all others are done.

        Raises:
            ModelUnavailable: a model or the scorer does not answer any more.
        """
        await solve_all(
            self.problems, self.solve, store, self.concurrency, progress, self.may_begin
        )

    async def solve(self, problem: Gradable) -> list[Trace]:
        """One problem by every policy, in the order of `policies`.

        Its requests wait behind those of problems that were begun before.
        """
        begin_problem()
        among = share if self.share_prefixes else lambda model: model
        router = Router(
            weak=among(self.models.weak),
            strong=among(self.models.strong),
            policy=WeakAlone(),
            intermediate=[among(model) for model in self.models.intermediate],
            config=replace(self.config, max_strong_tokens=None),
        )
        shared: dict[int, Scorer] = {}

        def scorer_of(policy: Policy) -> Scorer | None:
            scorer = choose_scorer(policy, self.scorer, self.scorers)
            if scorer is None or not self.share_prefixes:
                return scorer
            return shared.setdefault(id(scorer), SharedScorer(scorer))

        for policy in self.policies:
            if isinstance(policy, OracleQuery):
                await self._inform(policy, problem, router)
        limited = router.with_config(max_strong_tokens=self.config.max_strong_tokens)
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
            trace = Trace(problem.question, router.policy.name, self.seed, finish=Finish.CONTEXT)
        answer = find_answer(trace.solution, problem.grader, self.takes_open_box)
        correct = await self.grading.agrade(problem.grader, answer, problem.answer)
        return replace(trace, answer=answer, problem_id=problem.id, correct=correct)

    async def _inform(self, oracle: OracleQuery, problem: Gradable, router: Router) -> None:
        weak, strong = [
            await self._solve(replace(router, policy=policy), problem)
            for policy in (WeakAlone(), StrongAlone())
        ]
        if strong.correct and not weak.correct:
            oracle.strong_only.add(weak.question)


def evaluation_of(
    models: Models,
    config: RouterConfig,
    problems: Sequence[Gradable],
    policies: Sequence[Policy],
    scorer: Scorer | None,
    seed: int,
    **others: Any,
) -> Evaluation:
    """The evaluation of policies with loaded models; `others` are further fields of it.

    Raises:
        InvalidInput: a policy, the scorers and the settings do not fit together.
    """
    fields = {"scorers": models.scorers, **others}
    evaluation = Evaluation(problems, policies, models, scorer, seed, config, **fields)
    for policy in policies:
        chosen = choose_scorer(policy, scorer, evaluation.scorers)
        Router.of(models, policy=policy, scorer=chosen, config=config)
    return evaluation
