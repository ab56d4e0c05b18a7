"""What solves problems on a node: the same code as in one process, behind JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from trim.bank.collect import refuse_between
from trim.bank.explorer import Explorer
from trim.bank.table import encode
from trim.cluster.task import Problems, Task, opened
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, TrimError
from trim.evaluation.bill import Bill, billed
from trim.evaluation.evaluate import policies_on
from trim.evaluation.grading.workers import Workers
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.run import Evaluation, evaluation_of
from trim.evaluation.suites import SUITES, is_step_right
from trim.scorers.choice import needs_entropy

ERRORS = {kind.__name__: kind for kind in (InvalidInput, ContextExceeded, ModelUnavailable)}


class Worker:
    """Opens the lineup once, and solves one problem a call; calls may overlap."""

    def __init__(self, task: str) -> None:
        self.task = Task.from_json(task)
        self.failure: str | None = None
        self.problems = Problems()
        self.known: dict[str, Gradable] = {}
        self.grading = Workers()
        try:
            # Servers are tried in an event loop, and this may be called inside of one.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(self._open).result()
        except TrimError as error:
            self.failure = failed(error)

    def _open(self) -> None:
        task, lineup = self.task, opened(self.task.lineup)
        self.lineup = lineup
        policies = policies_on(task.policies, self._problems())
        entropy = needs_entropy(policies, task.scorer) or task.scorer == "entropy"
        self.bill = Bill(lineup.prices)
        self.team = billed(lineup.load(exact=task.exact, entropy=entropy), self.bill)
        self.settings = lineup.settings
        if task.max_strong_tokens is not None:
            self.settings = replace(self.settings, max_strong_tokens=task.max_strong_tokens)
        self.policies = policies
        if task.rollouts:
            refuse_between(self.team)

    def ready(self) -> str | None:
        """What is wrong with this worker, as `failed` says it; None where all is well."""
        return self.failure

    async def solve(self, problem: str) -> str:
        """The traces of a problem by each policy, and what was paid since the last answer."""
        try:
            found = self.problems.from_json(problem)
            self.known[found.question] = found
            traces = await self._evaluation([found]).solve(found)
        except TrimError as error:
            return failed(error)
        records = [trace.to_json() for trace in traces]
        return json.dumps({"traces": records, "bill": self.bill.hand_over()})

    async def explore(self, problem: str) -> tuple[str, bytes]:
        """The recorded problem as Parquet, and beside it what was paid since the last answer."""
        found = self.problems.from_json(problem)
        self.known[found.question] = found
        problems, task = self._problems(), self.task
        is_right = problems.is_right

        def check(problem: Gradable, earlier: Sequence[str], step: str) -> bool:
            return is_right is not None and is_right(problem.question, earlier, step)

        explorer = Explorer(
            self.team.weak,
            self.team.strong,
            self.team.scorer_of(task.scorer or ""),
            task.rollouts,
            check if is_right else None,
            task.seed,
            self.settings.sampling,
            self.settings.max_steps,
            self.grading,
            self.settings.rules,
            self.lineup.protocol.open_box,
        )
        try:
            recorded = await explorer.explore(found)
        except TrimError as error:
            return failed(error), b""
        content = await asyncio.to_thread(encode, [recorded])
        return json.dumps({"bill": self.bill.hand_over()}), content

    def _evaluation(self, problems: Sequence[Gradable]) -> Evaluation:
        kind = self.task.scorer
        return evaluation_of(
            self.team,
            self.settings,
            problems,
            self.policies,
            self.team.scorer_of(kind) if kind else None,
            self.task.seed,
            grading=self.grading,
            keep_too_long=self.task.suite is None,
            takes_open_box=self.lineup.protocol.open_box,
        )

    def _problems(self) -> ProblemSet:
        """Those that have come so far; it grows with them."""
        name = self.task.suite
        if name is None:
            return ProblemSet("problems", ())
        suite = SUITES[name]

        def is_right(question: str, earlier: Sequence[str], step: str) -> bool:
            problem: Any = self.known[question]
            return is_step_right(suite, problem, earlier, step)

        return ProblemSet(name, (), is_right)


def failed(error: TrimError) -> str:
    return json.dumps({"error": type(error).__name__, "message": str(error)})


def raise_failure(record: dict[str, Any]) -> None:
    """Raises what a worker met, where it met something."""
    if "error" in record:
        raise ERRORS.get(record["error"], ModelUnavailable)(record["message"])
