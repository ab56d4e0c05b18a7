"""Records what both models do with a problem: alone, and in turns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from trim.bank.growth import Growth, StepCheck
from trim.bank.record import Origin, RecordedProblem, Rollout, Solved, SolvedStep
from trim.bank.step_scorer import StepScorer
from trim.engines.turns import begin_problem
from trim.errors import InvalidInput, ModelUnavailable
from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.grading.extraction import find_answer
from trim.evaluation.grading.workers import Workers
from trim.evaluation.problem_set import ANSWER_OF_STRONG, Gradable
from trim.models.model import Model, Sampling
from trim.models.shared import SharedModel
from trim.policies.fixed import StrongAlone
from trim.router import Router
from trim.rules import Rules
from trim.scorers.scorer import Scorer
from trim.steps import MAX_STEPS
from trim.trace import Finish, Trace

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
        rules, takes_open_box: as of an evaluation (`trim.evaluation.run`).
    """

    weak: Model
    strong: Model
    scorer: Scorer
    rollouts: int = 8
    check: StepCheck | None = None
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    max_steps: int | None = MAX_STEPS
    grading: Workers = field(default_factory=Workers)
    rules: Rules = field(default_factory=Rules)
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
        weak, strong = SharedModel(self.weak), SharedModel(self.strong)
        router = Router(
            *(weak, strong, None, StrongAlone(), self.sampling, self.max_steps), rules=self.rules
        )
        alone = await router.asolve(problem.question, self.seed)
        alone = replace(alone, answer=self._answer(problem, alone.solution))
        if alone.finish is Finish.FAILED:
            raise ModelUnavailable(alone.failure or f"{self.strong.name} does not answer")
        if problem.answer == ANSWER_OF_STRONG:
            problem = Problem(problem.id, problem.question, alone.answer or "", problem.grader)
        right = await self.grading.agrade(problem.grader, alone.answer, problem.answer)
        growth = Growth(
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


def plan(rollouts: int) -> list[Origin]:
    """The rollouts through the tree, in order; the strong model alone is not one of them."""
    left = rollouts - FEWEST_ROLLOUTS
    rewrite, random = min(left, 1), max(left - 1, 0) // 2
    branch = left - rewrite - random
    return [
        Origin.KEEP,
        *[Origin.REWRITE] * rewrite,
        *[Origin.RANDOM] * random,
        *[Origin.BRANCH] * branch,
    ]
