"""Policies solve the problems of a suite, live, for a study."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trim.embedded import FOLDER, SAMPLING, load_embedded, usual_kind
from trim.errors import InvalidInput
from trim.evaluation.comparison import Figures
from trim.evaluation.evaluate import find_suite, policies_for
from trim.evaluation.metrics import Array
from trim.evaluation.origin import require_same_models
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import generate
from trim.evaluation.summary import group_by_policy, outcomes, resample_families, summarise
from trim.files import write_atomically
from trim.laboratory.cells import percent
from trim.laboratory.page import folder_for
from trim.prices import Prices
from trim.scorers.choice import needs_entropy
from trim.scorers.noisy import NoisyScorer

THRESHOLDS = (
    *(1e-6, 1e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4),
    *(0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99),
)
"""Of TRIM-Thr where none are asked for: dense where the scores of the shipped models are, as
too coarse a sweep weakens what the others are measured against."""

ALONE = ("weak", "strong")
RIVAL = "thr"
"""What studies compare routers with: nothing in it was trained."""

Progress = Callable[[int], None]
"""Called with the number of finished problems."""


@dataclass(frozen=True)
class Results:
    """What a trial found.

    Attributes:
        summary: as in `docs/summary.schema.json`.
        figures: of each family's curve, on the same resamples for all.
        right, tokens: (n,) by policy: 1 where its answer is right, else 0, and the tokens
            that the strong model decoded for it.
    """

    summary: Mapping[str, Any]
    figures: Mapping[str, Figures]
    right: Mapping[str, Array]
    tokens: Mapping[str, Array]

    @property
    def title(self) -> str:
        return "{suite}, {n} problems, seed {seed}".format_map(self.summary)

    def less(self, figure: str, a: str, b: str) -> Array:
        """(1 + resamples,) a figure of family `a` less that of `b` (`Figures.values`)."""
        return np.asarray(self.figures[a].values[figure] - self.figures[b].values[figure])

    @property
    def alone(self) -> str:
        """What the two models do alone, in a sentence or two."""
        weak, strong = (float(self.right[name].mean()) for name in ALONE)
        note = f"Alone right: weak {percent(weak)}, strong {percent(strong)}."
        return note if strong > weak else f"{note} No figure is defined: strong is not better."


@dataclass(frozen=True)
class Trial:
    """Which problems are solved, by which models.

    Attributes:
        suite: name of the suite.
        count, seed: of its problems; the seed is that of the sampling as well.
        models: folder of the models.
        scorer: the kind of score (`trim.scorers.choice.KINDS`); the models' usual one
            without any.
        sigma: noise that is added to the scores of that kind (`NoisyScorer`).
    """

    suite: str
    count: int
    seed: int = 0
    models: Path = FOLDER
    scorer: str | None = None
    sigma: float = 0.0

    def run(
        self, specs: Sequence[str], folder: Path, progress: Progress = lambda finished: None
    ) -> Results:
        """Run or continue the trial in `folder`, which keeps traces and `summary.json`.

        Args:
            specs: policies as on the command line; the two models alone are added.

        Raises:
            InvalidInput: an unknown suite or policy, a policy that was fitted to other
                models, no problem, or a folder that holds another run or cannot be written.
        """
        suite = find_suite(self.suite)
        if self.count < 1:
            raise InvalidInput(f"-n {self.count}: at least one problem is needed")
        problems = list(generate(suite, self.count, self.seed))
        policies = policies_for([*ALONE, *specs], suite, problems)
        require_same_models(policies, self.models)
        names = [policy.name for policy in policies]
        kind = self.scorer or usual_kind(self.models)
        embedded = load_embedded(self.models, entropy=needs_entropy(policies, kind))
        scorers = {**embedded.scorers, kind: embedded.scorer_of(kind)}
        if self.sigma:
            scorers[kind] = NoisyScorer(scorers[kind], self.sigma)
        run = {
            "suite": suite.name,
            "n": self.count,
            "seed": self.seed,
            "policies": names,
            "scorer": scorers[kind].name,
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
                scorers[kind],
                self.seed,
                SAMPLING,
                scorers=scorers,
            )
            asyncio.run(evaluation.run(store, lambda: progress(len(store.finished))))
        finally:
            store.close()
        solved = group_by_policy(store.read(), [problem.id for problem in problems])
        summary = summarise(suite.name, self.seed, solved, Prices())
        if not summary["curves"]:
            raise InvalidInput(
                f"{folder}: the strong model wrote nothing, and there is no curve; try other models"
            )
        with folder_for(folder):
            write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        each = {name: outcomes([traces]) for name, traces in solved.items()}
        return Results(
            summary,
            resample_families(solved, list(summary["curves"])),
            {name: found.correct[0] for name, found in each.items()},
            {name: found.tokens[0] for name, found in each.items()},
        )


def with_rival(specs: Sequence[str], thresholds: Sequence[float] = THRESHOLDS) -> list[str]:
    """The policies, and `RIVAL` with `thresholds` where it is not among them."""
    if any(map(is_rival, specs)):
        return list(specs)
    return [*specs, with_settings(RIVAL, thresholds)]


def is_rival(spec: str) -> bool:
    return spec.startswith(f"{RIVAL}:")


def with_settings(family: str, settings: Sequence[float]) -> str:
    """A policy word: `thr:0.1,0.5`."""
    return f"{family}:" + ",".join(map(repr, settings))
