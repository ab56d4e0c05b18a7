"""Policies solve the problems of a suite, live, for a study."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from trim.embedded import FOLDER, SAMPLING, load_embedded
from trim.errors import InvalidInput
from trim.evaluation.evaluate import find_suite, policies_for
from trim.evaluation.outcomes import Outcomes, outcomes_of
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import generate
from trim.evaluation.summary import group_by_policy, summarise
from trim.files import write_atomically
from trim.laboratory.page import folder_for
from trim.prices import Prices
from trim.scorers.choice import needs_confidence
from trim.scorers.noisy import NoisyScorer

THRESHOLDS = (
    *(0.0002, 0.0003, 0.0005, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 0.6),
    *(0.7, 0.75, 0.8, 0.83, 0.85, 0.88, 0.9, 0.92, 0.95),
)
"""Of TRIM-Thr where none are asked for: dense where the scores of the shipped scorer are, as
too coarse a sweep weakens what the others are measured against."""

ALONE = ("weak", "strong")

Progress = Callable[[int], None]
"""Called with the number of finished problems."""


@dataclass(frozen=True)
class Trial:
    """Which problems are solved, by which models.

    Attributes:
        suite: name of the suite.
        count, seed: of its problems; the seed is that of the sampling as well.
        models: folder of the models.
        scorer: the kind of score (`trim.scorers.choice.KINDS`).
        sigma: noise that is added to the scores of that kind (`NoisyScorer`).
    """

    suite: str
    count: int
    seed: int = 0
    models: Path = FOLDER
    scorer: str = "prm"
    sigma: float = 0.0

    def run(
        self, specs: Sequence[str], folder: Path, progress: Progress = lambda finished: None
    ) -> Outcomes:
        """Run or continue the trial in `folder`, which keeps traces and `summary.json`.

        Args:
            specs: policies as on the command line; the two models alone are added.

        Raises:
            InvalidInput: an unknown suite or policy, no problem, or a folder that holds
                another run or cannot be written.
        """
        suite = find_suite(self.suite)
        if self.count < 1:
            raise InvalidInput(f"-n {self.count}: at least one problem is needed")
        problems = list(generate(suite, self.count, self.seed))
        policies = policies_for([*ALONE, *specs], suite, problems)
        names = [policy.name for policy in policies]
        embedded = load_embedded(self.models, confidence=needs_confidence(policies, self.scorer))
        scorers = embedded.scorers
        if self.sigma:
            scorers[self.scorer] = NoisyScorer(scorers[self.scorer], self.sigma)
        run = {
            "suite": suite.name,
            "n": self.count,
            "seed": self.seed,
            "policies": names,
            "scorer": scorers[self.scorer].name,
            "version": version("trim"),
        }
        store = TraceStore(folder, run)
        try:
            progress(len(store.finished))
            evaluation = Evaluation(
                problems,
                policies,
                embedded.weak,
                embedded.strong,
                scorers[self.scorer],
                self.seed,
                SAMPLING,
                scorers=scorers,
            )
            asyncio.run(evaluation.run(store, lambda: progress(len(store.finished))))
        finally:
            store.close()
        solved = group_by_policy(store.read(), [problem.id for problem in problems])
        summary = summarise(suite.name, self.seed, solved, Prices())
        with folder_for(folder):
            write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        return outcomes_of(solved, names)


def thresholds(family: str, values: Sequence[float]) -> str:
    """A policy word: `thr:0.1,0.5`."""
    return f"{family}:" + ",".join(map(str, values))
