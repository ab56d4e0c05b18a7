"""Measure the shipped models on fresh problems: `python -m training.measure`.

For each suite: accuracy of the weak and the strong model alone, and how well the scorer separates
right from wrong steps of the weak model's solutions. `BANDS` holds the target ranges.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trim.config import RouterConfig
from trim.configuration.source import models_in
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import SUITES, Suite, SuiteProblem, generate, is_step_right
from trim.metrics.metrics import area_under_curve
from trim.policies.fixed import StrongAlone
from trim.policies.threshold import Threshold
from trim.shipped import FOLDER, SAMPLING
from trim.studies.reliability import calibration_error, equal_width
from trim.types import Trace

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Band:
    """Target ranges of accuracies and AUC in [0, 1], ends included."""

    weak: tuple[float, float] = (0.25, 0.60)
    strong: tuple[float, float] = (0.92, 1.0)
    auc: tuple[float, float] = (0.5, 1.0)


BANDS = {
    "chain": Band(auc=(0.88, 0.97)),
    "chain-hard": Band(weak=(0.05, 0.30), strong=(0.75, 1.0), auc=(0.7, 0.84)),
    "words": Band(),
    "program": Band(),
}


@dataclass(frozen=True)
class Measurement:
    """Accuracy of each model alone, and the scorer's quality on the weak model's steps.

    Attributes:
        weak, strong: share of problems solved.
        auc: area under the ROC curve of step scores against the exact step check.
        auc_lowest: of a solution's lowest score against its answer.
        calibration_error: expected calibration error over ten equal-width bins.
        steps, wrong_steps: number of steps measured, and of wrong ones.
    """

    suite: str
    problems: int
    weak: float
    strong: float
    auc: float
    auc_lowest: float
    calibration_error: float
    steps: int
    wrong_steps: int

    def outside(self) -> list[str]:
        """One line for each figure outside the suite's band."""
        return [
            f"{self.suite}: {name} {getattr(self, name):.3f} is not in {low}..{high}"
            for name, (low, high) in asdict(BANDS[self.suite]).items()
            if not low <= getattr(self, name) <= high
        ]


def measure(suite: Suite, count: int, seed: int, models: Path = FOLDER) -> Measurement:
    """Solve the first `count` evaluation problems of a seed with each model alone."""
    problems = list(generate(suite, count, seed))
    weak, strong = solve_alone(problems, seed, models)
    by_id = {problem.id: problem for problem in problems}
    right, scores = step_labels(suite, weak, by_id)
    lowest = np.array([min(step.score or 0.0 for step in trace.steps) for trace in weak])
    solved = np.array([bool(trace.correct) for trace in weak])
    return Measurement(
        suite=suite.name,
        problems=count,
        weak=float(solved.mean()),
        strong=float(np.mean([bool(trace.correct) for trace in strong])),
        auc=area_under_curve(right, scores),
        auc_lowest=area_under_curve(solved, lowest),
        calibration_error=calibration_error(right - scores, equal_width(scores)),
        steps=len(right),
        wrong_steps=int((~right).sum()),
    )


def solve_alone(
    problems: list[SuiteProblem], seed: int, models: Path
) -> tuple[list[Trace], list[Trace]]:
    """Traces of the weak model, with scores, and of the strong model."""
    loaded = models_in(models).load()
    never, strong = Threshold(0.0), StrongAlone()
    evaluation = Evaluation(
        problems,
        [never, strong],
        loaded,
        loaded.scorers["prm"],
        seed,
        RouterConfig(sampling=SAMPLING),
    )
    with TemporaryDirectory() as folder:
        store = TraceStore(Path(folder), {"policies": [never.name, strong.name]})
        asyncio.run(evaluation.run(store))
        store.close()
        traces = store.read()
    return (
        [trace for trace in traces if trace.policy == never.name],
        [trace for trace in traces if trace.policy == strong.name],
    )


def step_labels(
    suite: Suite, traces: list[Trace], problems: dict[str, SuiteProblem]
) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], Floats]:
    """For every step of the traces, in order: whether it is right, and its score."""
    right, scores = [], []
    for trace in traces:
        texts = [step.text for step in trace.steps]
        for index, step in enumerate(trace.steps):
            problem = problems[trace.problem_id or ""]
            right.append(is_step_right(suite, problem, texts[:index], step.text))
            scores.append(step.score)
    return np.array(right), np.array(scores, dtype=float)


def main() -> int:
    """Print one measurement per line and figures outside their band; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=FOLDER)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()
    outside, auc = [], {}
    for suite in SUITES.values():
        measurement = measure(suite, arguments.problems, arguments.seed, arguments.models)
        print(json.dumps(asdict(measurement)), flush=True)
        outside += measurement.outside()
        auc[suite.name] = measurement.auc
    if auc["chain-hard"] >= auc["chain"]:
        outside.append("chain-hard: auc is not below that of chain")
    print("\n".join(outside) or "all within their bands")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
