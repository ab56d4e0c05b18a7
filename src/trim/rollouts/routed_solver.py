"""Solve problems with the policies that a bank cannot replay: `trim collect --policy`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.engines.scheduler import begin_problem
from trim.errors import InvalidInput, ModelUnavailable
from trim.evaluation.cold import ColdModel, ColdScorer
from trim.evaluation.problem_set import Gradable
from trim.evaluation.shared import SharedScorer, share
from trim.grading.extraction import find_answer
from trim.grading.workers import GraderPool
from trim.models.spans import require_spans
from trim.policies.policy import Policy
from trim.policies.registry import parse_policies
from trim.rollouts.identity import Identity
from trim.rollouts.routed import RoutedSolution, file_of, is_recordable
from trim.router import Router
from trim.scorers.scorer import Scorer
from trim.types import Finish


@dataclass(frozen=True)
class RecordedPolicy:
    """A policy whose solutions are recorded.

    Attributes:
        file: sha256 of its fitted file; None without one.
    """

    policy: Policy
    file: str | None = None


def parse_recorded(specs: Sequence[str], identity: Identity | None = None) -> list[RecordedPolicy]:
    """The policies of command-line words, each once.

    Args:
        identity: of the bank, to which fitted policies must belong; None for no check.

    Raises:
        InvalidInput: a policy is unknown, can be replayed, or was fitted to other models or scores.
    """
    policies = [
        RecordedPolicy(policy, file) for spec in specs for file in [file_of(spec)]
        for policy in parse_policies(spec)
    ]  # fmt: skip
    for policy in (each.policy for each in policies):
        if not is_recordable(policy):
            raise InvalidInput(
                f"--policy {policy.name}: only policies on tokens are recorded, as token:0.9 or"
                " thr:0.5+tail:0.9; those on whole steps are replayed, and need no --policy"
            )
        if identity is None:
            continue
        if policy.models and dict(policy.models) != identity.models:
            raise InvalidInput(f"--policy {policy.name}: fitted to other models than the bank's")
        if policy.needs_scores and policy.scorer not in (None, identity.scorer):
            raise InvalidInput(
                f"--policy {policy.name}: fitted to scores {policy.scorer!r}, and the bank's are"
                f" {identity.scorer!r}"
            )
    return [*{(each.policy.name, each.file): each for each in policies}.values()]


@dataclass(frozen=True)
class RoutedSolver:
    """Solves a problem with each of several policies, with the seed of the bank.

    Attributes:
        models: weak and strong.
        scorer: of the bank's kind.
        config: only its sampling, max_steps and rules are used, as in `Explorer`.
        max_strong_tokens: limit of each solution; None for no limit.
        takes_open_box: as in `trim.evaluation.run.Evaluation`.
    """

    models: Models
    scorer: Scorer
    policies: Sequence[RecordedPolicy]
    config: RouterConfig = field(default_factory=RouterConfig)
    max_strong_tokens: int | None = None
    seed: int = 0
    grading: GraderPool = field(default_factory=GraderPool)
    takes_open_box: bool = False

    async def require_spans(self) -> None:
        """Raises InvalidInput if a model cannot write inside steps."""
        if self.policies:
            for model in (self.models.weak, self.models.strong):
                await require_spans(model)

    async def solve(self, problem: Gradable) -> list[RoutedSolution]:
        """The solutions of one problem, in the order of the policies.

        Raises:
            ContextExceeded: the question alone exceeds a model's context.
            ModelUnavailable: a model or the scorer does not answer.
        """
        begin_problem()
        models = replace(
            self.models, weak=share(self.models.weak), strong=share(self.models.strong)
        )
        scorer = SharedScorer(self.scorer)
        solved = (self._solve(each, problem, models, scorer) for each in self.policies)
        return list(await asyncio.gather(*solved))

    async def _solve(
        self, recorded: RecordedPolicy, problem: Gradable, models: Models, scorer: Scorer
    ) -> RoutedSolution:
        router = Router(
            weak=ColdModel(models.weak),
            strong=ColdModel(models.strong),
            scorer=ColdScorer(scorer),
            policy=recorded.policy,
            config=RouterConfig(
                sampling=self.config.sampling,
                max_steps=self.config.max_steps,
                rules=self.config.rules,
                max_strong_tokens=self.max_strong_tokens,
            ),
        )
        trace = await router.asolve(problem.question, self.seed)
        if trace.finish is Finish.FAILED:
            raise ModelUnavailable(trace.failure or "a model does not answer")
        answer = find_answer(trace.solution, problem.grader, self.takes_open_box)
        correct = await self.grading.agrade(problem.grader, answer, problem.answer)
        trace = replace(trace, problem_id=problem.id, correct=correct)
        return RoutedSolution.of(trace, recorded.file, self.max_strong_tokens)
