"""An evaluation: every policy solves every problem."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.engines.scheduler import begin_problem
from trim.errors import ContextExceeded
from trim.evaluation.cold import ColdScorer, as_if_alone
from trim.evaluation.execution import solve_all
from trim.evaluation.problem_set import Gradable
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
    """Policies, problems and models of an evaluation in this process.

    Attributes:
        problems: in the order of solving.
        policies: each solves every problem with the same random numbers.
        models: weak, intermediate and strong.
        scorer: for policies that do not require one kind of score.
        seed: of the sampling.
        config: of every router.
        concurrency: number of problems in progress at a time.
        share_prefixes: compute a step once for all policies that reach the same prefix.
        scorers: by kind, for policies that require one.
        grading: grades the answers.
        keep_too_long: record a question that exceeds a model's context as an unfinished trace
            without steps, instead of ending the run.
        may_start: called before each problem; False starts no further problem.
        takes_open_box: accept an answer in a box that is not closed (`find_answer`).
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
    may_start: Callable[[], bool] = lambda: True
    takes_open_box: bool = False

    def __post_init__(self) -> None:
        for policy in self.policies:
            choose_scorer(policy, self.scorer, self.scorers)

    async def run(
        self, store: TraceStore, progress: Callable[[list[Trace]], None] = lambda traces: None
    ) -> None:
        """Solve the problems that are not in `store` yet (`solve_all`).

        May be interrupted at any moment; finished problems stay in the store.

        Args:
            progress: called with the traces of each finished problem.

        Raises:
            ModelUnavailable: a model or the scorer does not answer any more.
        """
        await solve_all(
            self.problems, self.solve, store, self.concurrency, progress, self.may_start
        )

    async def solve(self, problem: Gradable) -> list[Trace]:
        """Traces of one problem, in the order of `policies`.

        Its requests have a lower priority than those of problems started before.
        """
        begin_problem()
        cached = share if self.share_prefixes else lambda model: model
        router = Router(
            weak=cached(self.models.weak),
            strong=cached(self.models.strong),
            policy=WeakAlone(),
            intermediate=[cached(model) for model in self.models.intermediate],
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
                await self._inform_oracle(policy, problem, router)
        limited = router.with_config(max_strong_tokens=self.config.max_strong_tokens)
        solved = (
            self._solve(replace(limited, policy=policy, scorer=scorer_of(policy)), problem)
            for policy in self.policies
        )
        return list(await asyncio.gather(*solved))

    async def _solve(self, router: Router, problem: Gradable) -> Trace:
        router = replace(
            router,
            weak=as_if_alone(router.weak),
            intermediate=tuple(map(as_if_alone, router.intermediate)),
            strong=as_if_alone(router.strong),
            scorer=router.scorer and ColdScorer(router.scorer, caches=False),
        )
        try:
            trace = await router.asolve(problem.question, self.seed)
        except ContextExceeded:
            if not self.keep_too_long:
                raise
            trace = Trace(problem.question, router.policy.name, self.seed, finish=Finish.CONTEXT)
        answer = find_answer(trace.solution, problem.grader, self.takes_open_box)
        correct = await self.grading.agrade(problem.grader, answer, problem.answer)
        return replace(trace, answer=answer, problem_id=problem.id, correct=correct)

    async def _inform_oracle(self, oracle: OracleQuery, problem: Gradable, router: Router) -> None:
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
    """An `Evaluation` of policies with loaded models; `others` are further fields.

    Raises:
        InvalidInput: a policy, the scorers and the settings do not fit together.
    """
    fields = {"scorers": models.scorers, **others}
    evaluation = Evaluation(problems, policies, models, scorer, seed, config, **fields)
    for policy in policies:
        chosen = choose_scorer(policy, scorer, evaluation.scorers)
        Router.of(models, policy=policy, scorer=chosen, config=config)
    return evaluation
