"""How well each kind of score tells right steps of the shipped weak model from wrong ones.

`python benchmarks/scores.py [PROBLEMS]` prints the table of docs/results/scorers.md: the area under
the ROC curve of step scores against the exact check, for each suite and kind of score.
"""

from __future__ import annotations

import asyncio
import sys

from training.measure import step_labels
from trim.config import RouterConfig
from trim.configuration.source import Models, shipped_models
from trim.evaluation.run import Evaluation
from trim.evaluation.suites import SUITES, Suite, generate
from trim.metrics.metrics import area_under_curve
from trim.policies.threshold import Threshold
from trim.scorers.scorer import KINDS
from trim.shipped import SAMPLING
from trim.types import Trace

SEED = 41


def area(suite: Suite, count: int, kind: str, models: Models) -> float:
    problems = list(generate(suite, count, SEED))
    evaluation = Evaluation(
        problems,
        [Threshold(0)],
        models,
        models.scorers[kind],
        SEED,
        RouterConfig(sampling=SAMPLING),
    )

    async def solve_all() -> list[Trace]:
        return [trace for problem in problems for trace in await evaluation.solve(problem)]

    traces = asyncio.run(solve_all())
    return area_under_curve(*step_labels(suite, traces, {p.id: p for p in problems}))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    models = shipped_models(entropy=True)
    print(f"| suite | {' | '.join(f'`{kind}`' for kind in KINDS)} |")
    print(f"|---|{'---|' * len(KINDS)}")
    for suite in SUITES.values():
        areas = (area(suite, count, kind, models) for kind in KINDS)
        print(f"| `{suite.name}` | {' | '.join(f'{value:.3f}' for value in areas)} |")


if __name__ == "__main__":
    main()
