"""What solves problems on a node: the same code as in one process, behind JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trim.configuration.configuration import Configuration
from trim.configuration.source import ModelSource, models_in
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, TrimError
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.bill import Bill, billed
from trim.evaluation.evaluate import policies_on
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.run import Evaluation, evaluation_of
from trim.evaluation.suites import SUITES, SuiteProblem, generate, is_step_right
from trim.grading.workers import GraderPool
from trim.models.prompt import Prompt
from trim.policies.policy import needs_entropy
from trim.rollouts.collect import refuse_between
from trim.rollouts.explorer import Explorer
from trim.rollouts.store import encode

MANY = 1_000_000
"""More problems than any run has; they are generated one by one."""


@dataclass(frozen=True)
class Task:
    """The work of a run, without its problems.

    Attributes:
        lineup: who solves: a folder of models, or a configuration and its folder. It holds no key:
            each node has its own environment and key files.
        suite: name of the suite that the problems are of, with steps that can be checked; None
            for others.
        policies: as on the command line; none for a bank.
        scorer: the kind of score.
        rollouts: solutions a problem of a bank.
    """

    lineup: dict[str, Any]
    suite: str | None
    seed: int
    scorer: str | None
    policies: tuple[str, ...] = ()
    exact: bool = False
    max_strong_tokens: int | None = None
    rollouts: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        record = json.loads(text)
        return Task(**{**record, "policies": tuple(record["policies"])})


def describe(lineup: ModelSource) -> dict[str, Any]:
    """A lineup, so that `opened` makes it again on another machine."""
    if lineup.bare:
        return {"models": str(lineup.folder.resolve()), "protocol": lineup.protocol.name}
    return {
        "configuration": lineup.configuration.model_dump(mode="json"),
        "folder": str(lineup.folder.resolve()),
        "task": asdict(lineup.task) if lineup.task else None,
    }


def opened(record: dict[str, Any]) -> ModelSource:
    """The lineup that `describe` was given."""
    if "models" in record:
        return models_in(Path(record["models"]), record["protocol"])
    configuration = Configuration.model_validate(record["configuration"])
    task = Prompt(**record["task"]) if record["task"] else None
    return ModelSource(configuration, Path(record["folder"]), task)


def problem_to_json(problem: Gradable) -> str:
    """A problem; of one that a suite has generated its id says all."""
    if isinstance(problem, SuiteProblem):
        return json.dumps({"generated": problem.id})
    fields = ("id", "question", "answer", "grader")
    return json.dumps({name: getattr(problem, name) for name in fields})


class Problems:
    """Problems from their JSON; what a suite has generated is generated again, once."""

    def __init__(self) -> None:
        self._sources: dict[str, Iterator[SuiteProblem]] = {}
        self._generated: dict[str, SuiteProblem] = {}

    def from_json(self, text: str) -> Gradable:
        record = json.loads(text)
        return (
            self._find(record["generated"]) if "generated" in record else BenchmarkProblem(**record)
        )

    def _find(self, name: str) -> SuiteProblem:
        source = name.rpartition("-")[0]
        if source not in self._sources:
            suite, _, seed = source.rpartition("-")
            self._sources[source] = generate(SUITES[suite], MANY, int(seed))
        while name not in self._generated:
            problem = next(self._sources[source])
            self._generated[problem.id] = problem
        return self._generated[name]


ERRORS = {kind.__name__: kind for kind in (InvalidInput, ContextExceeded, ModelUnavailable)}


class Worker:
    """Opens the lineup once, and solves one problem a call; calls may overlap."""

    def __init__(self, task: str) -> None:
        self.task = Task.from_json(task)
        self.failure: str | None = None
        self.problems = Problems()
        self.known: dict[str, Gradable] = {}
        self.grading = GraderPool()
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
        self.config = lineup.config
        if task.max_strong_tokens is not None:
            self.config = replace(self.config, max_strong_tokens=task.max_strong_tokens)
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
        return json.dumps({"traces": records, "bill": self.bill.drain()})

    async def explore(self, problem: str) -> tuple[str, bytes]:
        """The recorded problem as Parquet, and beside it what was paid since the last answer."""
        found = self.problems.from_json(problem)
        self.known[found.question] = found
        problems, task = self._problems(), self.task
        is_right = problems.is_right

        def check(problem: Gradable, earlier: Sequence[str], step: str) -> bool:
            return is_right is not None and is_right(problem.question, earlier, step)

        explorer = Explorer(
            self.team,
            self.team.scorer_of(task.scorer or ""),
            self.config,
            rollouts=task.rollouts,
            check=check if is_right else None,
            seed=task.seed,
            grading=self.grading,
            takes_open_box=self.lineup.protocol.open_box,
        )
        try:
            recorded = await explorer.explore(found)
        except TrimError as error:
            return failed(error), b""
        content = await asyncio.to_thread(encode, [recorded])
        return json.dumps({"bill": self.bill.drain()}), content

    def _evaluation(self, problems: Sequence[Gradable]) -> Evaluation:
        kind = self.task.scorer
        return evaluation_of(
            self.team,
            self.config,
            problems,
            self.policies,
            self.team.scorer_of(kind) if kind else None,
            self.task.seed,
            concurrency=self.lineup.concurrency,
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
