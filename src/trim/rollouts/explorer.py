"""Records what both models do with a problem: alone, and in turns."""

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
from trim.rollouts.record import NodeOrigin, RecordedProblem, Rollout, Solved, SolvedStep
from trim.rollouts.tree_builder import StepCheck, TreeBuilder
from trim.router import Router
from trim.scorers.scorer import Scorer, Scores, score_each
from trim.types import Finish, Trace


class StepScorer:
    """Asks `scorer` about one step at a time, and never twice about the same.

    Whether a step was scored when it was written or together with the next draft, and by
    which of two models the same text was written, its score is then the same to the last
    digit, so paths that lead to the same text can be told to be one. Meant to live as long
    as one problem.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._shared = SharedScorer(scorer)

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, lambda upto, step: self._shared.score(upto, [step]))


FEWEST_ROLLOUTS = 2
"""The solution by each model alone."""


@dataclass(frozen=True)
class Explorer:
    """Explores problems up to a budget of solutions.

    Attributes:
        rollouts: solutions a problem may have: the weak and the strong model's alone, one
            with every draft rewritten, then half random ones and half branches. Fewer
            where nothing is left unknown.
        check: says which steps are right; None where nothing can.
        seed: of the sampling and of the random decisions.
        grading: says which answers are right.
        config: of which sampling, max_steps and rules are used.
        takes_open_box: as of an evaluation (`trim.evaluation.run`).
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
        if self.rollouts < FEWEST_ROLLOUTS:
            raise InvalidInput(
                f"{self.rollouts} rollouts a problem: at least {FEWEST_ROLLOUTS} are needed,"
                " one by each model alone"
            )

    async def explore(self, problem: Gradable) -> RecordedProblem:
        """One problem; its requests wait behind those of problems that were begun before.

        Raises ContextExceeded or ModelUnavailable as `Router.aevents` does.
        """
        begin_problem()
        weak, strong = SharedModel(self.models.weak), SharedModel(self.models.strong)
        # Rollouts are whole solutions: limits and fallbacks would cut them short.
        config = RouterConfig(
            sampling=self.config.sampling,
            max_steps=self.config.max_steps,
            rules=self.config.rules,
        )
        router = Router(weak=weak, strong=strong, policy=StrongAlone(), config=config)
        alone = await router.asolve(problem.question, self.seed)
        alone = replace(alone, answer=self._answer(problem, alone.solution))
        if alone.finish is Finish.FAILED:
            raise ModelUnavailable(alone.failure or f"{strong.name} does not answer")
        if problem.answer == ANSWER_OF_STRONG:
            problem = BenchmarkProblem(
                problem.id, problem.question, alone.answer or "", problem.grader
            )
        right = await self.grading.agrade(problem.grader, alone.answer, problem.answer)
        growth = TreeBuilder(
            *(problem, weak, strong, StepScorer(self.scorer), self.check, self.grading),
            self._answer,
        )
        await growth.plant(router.begin(problem.question, self.seed))
        rollouts: list[Rollout] = []
        for origin in plan(self.rollouts):
            if rollouts and not growth.open:
                break
            seed = f"{self.seed}/{problem.question}/{len(rollouts)}"
            rollouts.append(await growth.roll(origin, seed))
        steps = tuple(
            SolvedStep(
                node.draft,
                node.draft_tokens,
                node.draft_score,
                node.draft_right,
                node.draft_log_probability,
            )
            for node in (growth.nodes[index] for index in rollouts[0].nodes)
        )
        return RecordedProblem(
            problem_id=problem.id,
            question=problem.question,
            answer=problem.answer,
            weak=Solved(
                steps,
                self._answer(problem, "".join(step.text for step in steps)),
                rollouts[0].correct,
                sum(step.tokens for step in steps),
            ),
            strong=self._solved(replace(alone, correct=right), problem),
            nodes=tuple(growth.nodes),
            rollouts=tuple(rollouts),
        )

    def _answer(self, problem: Gradable, solution: str) -> str | None:
        return find_answer(solution, problem.grader, self.takes_open_box)

    def _solved(self, trace: Trace, problem: Gradable) -> Solved:
        texts = [step.text for step in trace.steps]
        steps = (
            SolvedStep(
                step.text,
                step.strong_tokens,
                right=self.check(problem, texts[:index], step.text) if self.check else None,
            )
            for index, step in enumerate(trace.steps)
        )
        return Solved(tuple(steps), trace.answer, bool(trace.correct), trace.strong_tokens)


def plan(rollouts: int) -> list[NodeOrigin]:
    """The rollouts through the tree, in order; the strong model alone is not one of them."""
    left = rollouts - FEWEST_ROLLOUTS
    rewrite, random = min(left, 1), max(left - 1, 0) // 2
    branch = left - rewrite - random
    return [
        NodeOrigin.KEEP,
        *[NodeOrigin.REWRITE] * rewrite,
        *[NodeOrigin.RANDOM] * random,
        *[NodeOrigin.BRANCH] * branch,
    ]
