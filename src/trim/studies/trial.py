"""A trial: an evaluation whose outcomes a study compares further."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trim.configuration.source import ModelSource
from trim.errors import InvalidInput
from trim.evaluation.bill import cost_limit_error
from trim.evaluation.comparison import Figures, Weights
from trim.evaluation.cost_axes import outcomes
from trim.evaluation.evaluate import RunOptions, check_policies, evaluate
from trim.evaluation.execution import RemoteExecutor
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.progress import RunProgress
from trim.evaluation.report import percent
from trim.evaluation.summary import resample_families
from trim.metrics.curve import BUDGETS as CURVE_BUDGETS
from trim.metrics.metrics import Array
from trim.policies.token import TAIL

THRESHOLDS = (
    *(1e-6, 1e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4),
    *(0.5, 0.6, 0.7, 0.75, 0.8, 0.83, 0.85, 0.88, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99),
)
"""Default thresholds of TRIM-Thr, dense where the scores of the shipped models are: a coarse sweep
would weaken the baseline."""

BUDGETS = tuple(budget / 100 for budget in CURVE_BUDGETS)
"""Default strong shares at which studies compare accuracies."""

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
        """The accuracy of the two models alone, and families fitted to the problems, in words."""
        weak, strong = (float(self.right[name].mean()) for name in ALONE)
        note = f"Accuracy alone: weak {percent(weak)}, strong {percent(strong)}."
        for family, seen in self.summary.get("seen", {}).items():
            note += f" {family} was fitted to {seen['problems']} of the {seen['of']} problems."
        return note if strong > weak else f"{note} No metric is defined: strong is not better."


@dataclass(frozen=True)
class Trial:
    """Problems, models and options of a trial.

    Attributes:
        source: the models.
        executor: solves the problems in other processes; None for this one.
    """

    problem_set: ProblemSet
    source: ModelSource
    options: RunOptions
    executor: RemoteExecutor | None = None

    @property
    def name(self) -> str:
        """Of the suite, the benchmark or the file."""
        return self.problem_set.name

    def check(self, specs: Sequence[str]) -> None:
        """Raises InvalidInput for policies that `run` would refuse."""
        check_policies(self.problem_set, [*ALONE, *specs], self.source, self.options)

    def run(
        self, specs: Sequence[str], folder: Path, progress: Progress = lambda progress: None
    ) -> Results:
        """Run or continue the trial in `folder`, with the files of an evaluation.

        Args:
            specs: policies, as on the command line; the two models alone are added.

        Raises:
            MoneySpent: the run reached its cost limit.
            InvalidInput: as `trim.evaluation.evaluate.evaluate`, or the strong model wrote
                nothing.
        """
        done = evaluate(
            self.problem_set,
            [*ALONE, *specs],
            self.source,
            folder,
            replace(self.options, predicts=False),
            progress,
            self.executor,
        )
        summary, solved = done.summary, done.solved
        if partial := summary.get("partial"):
            raise cost_limit_error(partial["money"], summary["n"], partial["of"])
        if not summary["curves"]:
            raise InvalidInput(
                f"{folder}: no curve, as the strong model wrote no tokens; choose other models"
            )
        each = {name: outcomes([traces]) for name, traces in solved.items()}
        return Results(
            summary,
            resample_families(solved, list(summary["curves"]), Weights.draw(summary["n"])),
            {name: found.correct[0] for name, found in each.items()},
            {name: found.costs[0] for name, found in each.items()},
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
