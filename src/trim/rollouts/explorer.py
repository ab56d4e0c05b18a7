"""Record a problem: each model's solution alone, and rollouts in which they alternate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.engines.scheduler import begin_problem
from trim.errors import InvalidInput, ModelUnavailable
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.problem_set import ANSWER_OF_STRONG, Gradable
from trim.evaluation.shared import SharedModel, SharedScorer
from trim.grading.extraction import find_answer
from trim.grading.workers import GraderPool
from trim.models.model import Completion, Prefix
from trim.policies.fixed import StrongAlone
from trim.rollouts.record import RecordedProblem, Rollout, RolloutOrigin, SoloSolution, SoloStep
from trim.rollouts.tree_builder import StepCheck, TreeBuilder
from trim.router import Router
from trim.scorers.scorer import Scorer, Scores, score_each
from trim.types import Finish, Trace

MIN_ROLLOUTS = 2
"""The solution by each model alone."""


class CachedStepScorer:
    """Scores one step per request, and each step once.

    A step's score is then the same to the last digit, whether it is scored alone or together
    with the next draft, and whichever of two models wrote its text. Paths that lead to the same
    text can therefore be merged. Use one instance per problem: the cache is never emptied.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._shared = SharedScorer(scorer)

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, lambda upto, step: self._shared.score(upto, [step]))


@dataclass(frozen=True)
class Explorer:
    """Records problems, each with a limited number of solutions.

    Attributes:
        config: only its sampling, max_steps and rules are used.
        rollouts: maximum number of solutions per problem: one by each model alone, one with
            every draft rewritten, half of the others random and half branches. Exploration
            stops early once every edge is known.
        check: checks single steps; None without a checker.
        seed: of the sampling and the random decisions.
        grading: grades answers.
        takes_open_box: as in `trim.evaluation.run.Evaluation`.

    Raises:
        InvalidInput: fewer than 2 rollouts.
    """

    models: Models
    scorer: Scorer
    config: RouterConfig = field(default_factory=RouterConfig)
    rollouts: int = 8
    check: StepCheck | None = None
    seed: int = 0
    grading: GraderPool = field(default_factory=GraderPool)
    takes_open_box: bool = False

    def __post_init__(self) -> None:
        if self.rollouts < MIN_ROLLOUTS:
            raise InvalidInput(
                f"rollouts is {self.rollouts}; it must be at least {MIN_ROLLOUTS}, one solution by"
                " each model alone"
            )

    async def explore(self, problem: Gradable) -> RecordedProblem:
        """Record one problem. Requests of problems that were begun earlier go first.

        Raises:
            ContextExceeded: the question alone exceeds a model's context.
            ModelUnavailable: a model or the scorer does not answer.
        """
        begin_problem()
        weak, strong = SharedModel(self.models.weak), SharedModel(self.models.strong)
        # Rollouts are complete solutions: limits and fallbacks would cut them short.
        config = RouterConfig(
            sampling=self.config.sampling,
            max_steps=self.config.max_steps,
            rules=self.config.rules,
        )
        router = Router(weak=weak, strong=strong, policy=StrongAlone(), config=config)
        alone = await router.asolve(problem.question, self.seed)
        alone = replace(alone, answer=self._find_answer(problem, alone.solution))
        if alone.finish is Finish.FAILED:
            raise ModelUnavailable(alone.failure or f"{strong.name} does not answer")
        problem = with_answer(problem, alone.answer or "")
        right = await self.grading.agrade(problem.grader, alone.answer, problem.answer)
        tree = TreeBuilder(
            problem=problem,
            weak=weak,
            strong=strong,
            scorer=CachedStepScorer(self.scorer),
            check=self.check,
            grading=self.grading,
            find_answer=self._find_answer,
        )
        await tree.add_root(router.begin(problem.question, self.seed))
        rollouts: list[Rollout] = []
        for origin in plan_rollouts(self.rollouts):
            if rollouts and not tree.unexplored:
                break
            seed = f"{self.seed}/{problem.question}/{len(rollouts)}"
            rollouts.append(await tree.run_rollout(origin, seed))
        return RecordedProblem(
            problem_id=problem.id,
            question=problem.question,
            answer=problem.answer,
            weak=self._weak_solution(problem, tree, rollouts[0]),
            strong=self._strong_solution(problem, replace(alone, correct=right)),
            nodes=tuple(tree.nodes),
            rollouts=tuple(rollouts),
        )

    def _find_answer(self, problem: Gradable, solution: str) -> str | None:
        return find_answer(solution, problem.grader, self.takes_open_box)

    def _weak_solution(self, problem: Gradable, tree: TreeBuilder, kept: Rollout) -> SoloSolution:
        """The weak model's solution, from the rollout that keeps every draft."""
        steps = tuple(
            SoloStep(
                node.draft,
                node.draft_tokens,
                node.draft_score,
                node.draft_right,
                node.draft_log_probability,
            )
            for node in (tree.nodes[index] for index in kept.nodes)
        )
        return SoloSolution(
            steps,
            self._find_answer(problem, "".join(step.text for step in steps)),
            kept.correct,
            sum(step.tokens for step in steps),
        )

    def _strong_solution(self, problem: Gradable, trace: Trace) -> SoloSolution:
        texts = [step.text for step in trace.steps]
        steps = (
            SoloStep(
                step.text,
                step.strong_tokens,
                right=self.check(problem, texts[:index], step.text) if self.check else None,
            )
            for index, step in enumerate(trace.steps)
        )
        return SoloSolution(tuple(steps), trace.answer, bool(trace.correct), trace.strong_tokens)


def with_answer(problem: Gradable, answer: str) -> Gradable:
    """The problem, with the strong model's own answer as its reference if it has none."""
    if problem.answer != ANSWER_OF_STRONG:
        return problem
    return BenchmarkProblem(problem.id, problem.question, answer, problem.grader)


def plan_rollouts(rollouts: int) -> list[RolloutOrigin]:
    """Origins of the rollouts through the tree, in order, without the strong model's solution."""
    left = rollouts - MIN_ROLLOUTS
    rewrite, random = min(left, 1), max(left - 1, 0) // 2
    branch = left - rewrite - random
    return [
        RolloutOrigin.KEEP,
        *[RolloutOrigin.REWRITE] * rewrite,
        *[RolloutOrigin.RANDOM] * random,
        *[RolloutOrigin.BRANCH] * branch,
    ]
