"""What workers are told, in JSON: who solves, how, and each problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trim.configuration.configuration import Configuration
from trim.configuration.lineup import ConfiguredLineup
from trim.embedded.lineup import EmbeddedLineup
from trim.evaluation.benchmarks.problem import Problem
from trim.evaluation.problem_set import Gradable
from trim.evaluation.suites import SUITES, generate
from trim.evaluation.suites import Problem as SuiteProblem
from trim.lineup import Lineup
from trim.models.prompt import Prompt
from trim.protocol import find_protocol

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


def describe(lineup: Lineup) -> dict[str, Any]:
    """A lineup, so that `opened` makes it again on another machine."""
    if isinstance(lineup, ConfiguredLineup):
        configuration = lineup.configuration.model_dump(mode="json")
        return {
            "configuration": configuration,
            "folder": str(lineup.folder.resolve()),
            "task": asdict(lineup.task) if lineup.task else None,
        }
    if isinstance(lineup, EmbeddedLineup):
        return {"models": str(lineup.folder.resolve()), "protocol": lineup.protocol.name}
    raise TypeError(f"{type(lineup).__name__} cannot be described")


def opened(record: dict[str, Any]) -> Lineup:
    """The lineup that `describe` was given."""
    if "models" in record:
        return EmbeddedLineup(Path(record["models"]), protocol=find_protocol(record["protocol"]))
    configuration = Configuration.model_validate(record["configuration"])
    task = Prompt(**record["task"]) if record["task"] else None
    return ConfiguredLineup(configuration, Path(record["folder"]), task)


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
        return self._find(record["generated"]) if "generated" in record else Problem(**record)

    def _find(self, name: str) -> SuiteProblem:
        source = name.rpartition("-")[0]
        if source not in self._sources:
            suite, _, seed = source.rpartition("-")
            self._sources[source] = generate(SUITES[suite], MANY, int(seed))
        while name not in self._generated:
            problem = next(self._sources[source])
            self._generated[problem.id] = problem
        return self._generated[name]
