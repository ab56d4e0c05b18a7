"""A worker of the cluster: runs evaluations and explorers in its own process, behind JSON."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trim.configuration.configuration import Configuration
from trim.configuration.source import ModelSource, models_in
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable, TrimError
from trim.evaluation.benchmarks.benchmark import BenchmarkProblem
from trim.evaluation.bill import Bill, billed
from trim.evaluation.evaluate import checked_set, policies_on
from trim.evaluation.problem_set import Gradable, ProblemSet
from trim.evaluation.run import Evaluation, evaluation_of
from trim.evaluation.suites import SUITES, SuiteProblem, generate
from trim.grading.workers import GraderPool, Ungraded
from trim.models.prompt import Prompt
from trim.policies.policy import needs_entropy
from trim.rollouts.collect import (
    CollectionRequest,
    LocalRecorder,
    make_recorder,
    refuse_intermediate,
)
from trim.rollouts.routed_solver import parse_recorded
from trim.rollouts.routed_store import encode as encode_routed
from trim.rollouts.store import encode

MAX_PROBLEMS = 1_000_000
"""More problems than any run has; a suite generates them one by one."""


@dataclass(frozen=True)
class Task:
    """The work of a run, without its problems.

    Attributes:
        source: a folder of models, or a configuration and its folder (`source_to_json`). It holds
            no key: each node has its own environment and key files.
        suite: name of the problems' suite, whose steps can be checked; None for other problems.
        policies: as on the command line; of a bank, those whose solutions are recorded.
        scorer: the kind of score.
        rollouts: maximum number of solutions per problem of a bank; 0 for an evaluation.
        folder: the one to which relative paths in `policies` refer.
    """

    source: dict[str, Any]
    suite: str | None
    seed: int
    scorer: str | None
    policies: tuple[str, ...] = ()
    exact: bool = False
    max_strong_tokens: int | None = None
    rollouts: int = 0
    folder: str = "."

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        record = json.loads(text)
        return Task(**{**record, "policies": tuple(record["policies"])})


def source_to_json(source: ModelSource) -> dict[str, Any]:
    """A model source as JSON, to open the same models on another machine."""
    if source.is_folder:
        return {"models": str(source.folder.resolve()), "protocol": source.protocol.name}
    return {
        "configuration": source.configuration.model_dump(mode="json"),
        "folder": str(source.folder.resolve()),
        "task": asdict(source.task) if source.task else None,
    }


def source_from_json(record: dict[str, Any]) -> ModelSource:
    """The inverse of `source_to_json`."""
    if "models" in record:
        return models_in(Path(record["models"]), record["protocol"])
    configuration = Configuration.model_validate(record["configuration"])
    task = Prompt(**record["task"]) if record["task"] else None
    return ModelSource(configuration, Path(record["folder"]), task)


def problem_to_json(problem: Gradable) -> str:
    """A problem as JSON; a generated problem is given by its id."""
    if isinstance(problem, SuiteProblem):
        return json.dumps({"generated": problem.id})
    fields = ("id", "question", "answer", "grader")
    return json.dumps({name: getattr(problem, name) for name in fields})


class ProblemReader:
    """Reads problems from JSON; a suite's problems are generated again, each once."""

    def __init__(self) -> None:
        self._generators: dict[tuple[str, int], Iterator[SuiteProblem]] = {}
        self._generated: dict[str, SuiteProblem] = {}

    def from_json(self, text: str) -> Gradable:
        """The inverse of `problem_to_json`."""
        record = json.loads(text)
        if "generated" in record:
            return self._generate(record["generated"])
        return BenchmarkProblem(**record)

    def _generate(self, name: str) -> SuiteProblem:
        """The problem with an id of the form `SUITE-SEED-NUMBER`."""
        suite, seed = split_id(name)
        if (suite, seed) not in self._generators:
            self._generators[suite, seed] = generate(SUITES[suite], MAX_PROBLEMS, seed)
        while name not in self._generated:
            problem = next(self._generators[suite, seed])
            self._generated[problem.id] = problem
        return self._generated[name]


def split_id(name: str) -> tuple[str, int]:
    """Suite and seed of an id such as `chain-hard-0-12`; a seed may be negative: `chain--1-12`."""
    found = re.fullmatch(r"(.+?)-(-?\d+)-\d+", name)
    assert found
    return found[1], int(found[2])


ERRORS = {kind.__name__: kind for kind in (InvalidInput, ContextExceeded, ModelUnavailable)}


class Worker:
    """Loads the models once, and solves or records one problem per call; calls may overlap.

    Args:
        task: `Task.to_json`.
    """

    def __init__(self, task: str) -> None:
        self.task = Task.from_json(task)
        self.failure: str | None = None
        self.reader = ProblemReader()
        self.received: dict[str, Gradable] = {}
        self.ungraded: deque[Ungraded] = deque()
        self.grading = GraderPool(report=self.ungraded.append)
        try:
            # Loading runs an event loop to probe servers, and this may be called inside of one.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(self._load).result()
        except TrimError as error:
            node = socket.gethostname()
            self.failure = error_to_json(error, f"a worker on {node} did not start: ")

    def ready(self) -> str | None:
        """The error with which the worker failed to start, as JSON; None if it is ready."""
        return self.failure

    async def solve(self, problem: str) -> str:
        """The traces of a problem by each policy; the cost and the answers that could not be
        graded since the last call."""
        try:
            found = self._receive(problem)
            traces = await self._evaluation([found]).solve(found)
        except TrimError as error:
            return error_to_json(error)
        records = [trace.to_json() for trace in traces]
        ungraded = [asdict(self.ungraded.popleft()) for _ in range(len(self.ungraded))]
        return json.dumps({"traces": records, "bill": self.bill.drain(), "ungraded": ungraded})

    async def explore(self, problem: str) -> tuple[str, bytes]:
        """The cost since the last call as JSON, and the recorded problem as Parquet."""
        found = self._receive(problem)
        try:
            recorded = await self.recorder.explore(found)
        except TrimError as error:
            return error_to_json(error), b""
        content = await asyncio.to_thread(encode, [recorded])
        return json.dumps({"bill": self.bill.drain()}), content

    async def route(self, problem: str) -> tuple[str, bytes]:
        """As `explore`, for the solutions of the policies."""
        found = self._receive(problem)
        try:
            solutions = await self.recorder.solve(found)
        except TrimError as error:
            return error_to_json(error), b""
        content = await asyncio.to_thread(encode_routed, solutions)
        return json.dumps({"bill": self.bill.drain()}), content

    def _load(self) -> None:
        task, source = self.task, source_from_json(self.task.source)
        self.source = source
        # Ray starts workers in a folder of its own. The policies' words stay as they are, because
        # names of policies have paths in them. A node without the folder has none of its files.
        with suppress(OSError):
            os.chdir(task.folder)
        policies = policies_on(task.policies, self._problem_set())
        entropy = needs_entropy(policies, task.scorer) or task.scorer == "entropy"
        self.bill = Bill(source.prices)
        self.models = billed(source.load(exact=task.exact, entropy=entropy), self.bill)
        self.config = source.config
        if task.max_strong_tokens is not None:
            self.config = replace(self.config, max_strong_tokens=task.max_strong_tokens)
        self.policies = policies
        if task.rollouts:
            refuse_intermediate(self.models)
            self.recorder = self._make_recorder()
            asyncio.run(self.recorder.solver.require_spans())

    def _receive(self, problem: str) -> Gradable:
        found = self.reader.from_json(problem)
        self.received[found.question] = found
        return found

    def _make_recorder(self) -> LocalRecorder:
        task = self.task
        request = CollectionRequest(
            self._problem_set(),
            task.seed,
            task.scorer or "",
            task.rollouts,
            task.exact,
            task.policies,
            task.max_strong_tokens,
        )
        policies = parse_recorded(task.policies)
        return make_recorder(self.models, self.source, request, policies, self.grading)

    def _evaluation(self, problems: Sequence[Gradable]) -> Evaluation:
        kind = self.task.scorer
        return evaluation_of(
            self.models,
            self.config,
            problems,
            self.policies,
            self.models.scorer_of(kind) if kind else None,
            self.task.seed,
            concurrency=self.source.concurrency,
            grading=self.grading,
            keep_too_long=self.task.suite is None,
            takes_open_box=self.source.protocol.open_box,
        )

    def _problem_set(self) -> ProblemSet:
        """An empty problem set whose step check knows the problems received so far."""
        name = self.task.suite
        if name is None:
            return ProblemSet("problems", ())
        return checked_set(SUITES[name], (), self.received)


def error_to_json(error: TrimError, prefix: str = "") -> str:
    return json.dumps({"error": type(error).__name__, "message": f"{prefix}{error}"})


def raise_error(record: dict[str, Any]) -> None:
    """Raises the error of `error_to_json`, if the record holds one."""
    if "error" in record:
        raise ERRORS.get(record["error"], ModelUnavailable)(record["message"])
