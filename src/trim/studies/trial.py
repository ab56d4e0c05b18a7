"""A trial: policies solve the problems of a suite, live, for a study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trim.configuration.source import models_in
from trim.errors import DISTRIBUTION, InvalidInput
from trim.evaluation.comparison import Figures, Weights
from trim.evaluation.evaluate import draw, policies_on
from trim.evaluation.execution import solve_in_folder
from trim.evaluation.progress import RunProgress
from trim.evaluation.provenance import overlaps_of, refuse_seen, require_same_models
from trim.evaluation.report import percent, results_folder
from trim.evaluation.run import evaluation_of
from trim.evaluation.summary import outcomes, resample_families, summarise
from trim.files import write_atomically
from trim.metrics.metrics import Array
from trim.policies.policy import needs_entropy
from trim.policies.token import TAIL
from trim.scorers.noisy import NoisyScorer
from trim.shipped import FOLDER

THRESHOLDS = (
    *(1e-6, 1e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4),
    *(0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99),
)
"""Default thresholds of TRIM-Thr, dense where the scores of the shipped models are: a coarse sweep
would weaken the baseline."""

ALONE = ("weak", "strong")
RIVAL = "thr"
"""The baseline of studies, which is not trained."""

Progress = Callable[[RunProgress], None]
"""Called with the progress of a trial."""


@dataclass(frozen=True)
class Results:
    """The results of a trial.

    Attributes:
        summary: as in `docs/summary.schema.json`.
        figures: metrics of each family, on the same resamples.
        right, tokens: (n,) by policy: 1 for a right answer, else 0; and strong tokens.
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
        """The accuracy of the two models alone, in a sentence or two."""
        weak, strong = (float(self.right[name].mean()) for name in ALONE)
        note = f"Accuracy alone: weak {percent(weak)}, strong {percent(strong)}."
        return note if strong > weak else f"{note} No metric is defined: strong is not better."


@dataclass(frozen=True)
class Trial:
    """Problems and models of a trial.

    Attributes:
        suite: name of the suite.
        count, seed: of its problems; the seed is also that of the sampling.
        models: folder of the models.
        scorer: kind of score (`trim.scorers.scorer.KINDS`); None for the models' default.
        sigma: standard deviation of noise in scores of that kind (`NoisyScorer`).
    """

    suite: str
    count: int
    seed: int = 0
    models: Path = FOLDER
    scorer: str | None = None
    sigma: float = 0.0

    def run(
        self, specs: Sequence[str], folder: Path, progress: Progress = lambda progress: None
    ) -> Results:
        """Run or continue the trial in `folder`, with its traces and `summary.json`.

        Args:
            specs: policies, as on the command line; the two models alone are added.

        Raises:
            InvalidInput: an unknown suite or policy, a policy that was fitted to other models or
                to these problems, no problem, or a folder that holds another run or cannot be
                written.
        """
        problem_set = draw(self.suite, self.count, self.seed)
        policies = policies_on([*ALONE, *specs], problem_set)
        source = models_in(self.models)
        require_same_models(policies, source)
        kind = self.scorer or source.default_kind
        refuse_seen(overlaps_of(policies, specs, kind, source.joint, problem_set), problem_set)
        assert kind is not None  # A folder of models has a scorer.
        loaded = source.load(entropy=needs_entropy(policies, kind))
        scorers = {**loaded.scorers, kind: loaded.scorer_of(kind)}
        if self.sigma:
            scorers[kind] = NoisyScorer(scorers[kind], self.sigma)
        run = {
            "suite": problem_set.name,
            "n": self.count,
            "seed": self.seed,
            "scorer": scorers[kind].name,
            "version": version(DISTRIBUTION),
        }
        evaluation = evaluation_of(
            loaded,
            source.config,
            problem_set.problems,
            policies,
            scorers[kind],
            self.seed,
            scorers=scorers,
            concurrency=source.concurrency,
        )
        solved = solve_in_folder(folder, run, evaluation, progress)
        summary = summarise(problem_set.name, self.seed, solved, None)
        if not summary["curves"]:
            raise InvalidInput(
                f"{folder}: no curve, as the strong model wrote no tokens; choose other models"
            )
        with results_folder(folder):
            write_atomically(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        each = {name: outcomes([traces]) for name, traces in solved.items()}
        return Results(
            summary,
            resample_families(solved, list(summary["curves"]), Weights.draw(summary["n"])),
            {name: found.correct[0] for name, found in each.items()},
            {name: found.tokens[0] for name, found in each.items()},
        )


def with_rival(specs: Sequence[str], thresholds: Sequence[float] = THRESHOLDS) -> list[str]:
    """The policies, with `RIVAL` at `thresholds` added if it is missing."""
    if any(map(is_rival, specs)):
        return list(specs)
    return [*specs, with_settings(RIVAL, thresholds)]


def is_rival(spec: str) -> bool:
    return spec.startswith(f"{RIVAL}:") and TAIL not in spec


def with_settings(family: str, settings: Sequence[float]) -> str:
    """A policy word: `thr:0.1,0.5`."""
    return f"{family}:" + ",".join(map(repr, settings))
