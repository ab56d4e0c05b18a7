"""Coverage of the confidence intervals of a comparison.

    python benchmarks/coverage.py RUN

The problems of an evaluation's folder stand for the population: samples of the same size are drawn
from them with replacement, and the intervals of every family against `thr` are compared with the
figures of the whole run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.evaluation.comparison import Figures, PolicyOutcomes, Weights, compare, figures_of
from trim.evaluation.cost_axes import outcomes
from trim.evaluation.summary import group_by_policy, outcomes_by_family, split_name
from trim.types import Trace

DRAWS = RESAMPLES = 300
RIVAL = "thr"


def drawn(all_of_them: PolicyOutcomes, problems: NDArray[np.int64]) -> PolicyOutcomes:
    return PolicyOutcomes(all_of_them.correct[:, problems], all_of_them.costs[:, problems])


def figures_in(a: Figures, b: Figures) -> Iterator[tuple[str, dict[str, Any]]]:
    compared = compare(a, b)
    yield from ((f"CPT {gain} %", figure) for gain, figure in compared["cpt"].items())
    for name in ("delta_ibc", "delta_ibc_ratio", "apgr", "shortfall"):
        yield name, compared[name]


def main(folder: Path) -> None:
    with (folder / "traces.jsonl").open(encoding="utf-8") as lines:
        traces = [Trace.from_json(json.loads(line)) for line in lines]
    solved = group_by_policy(traces, list(dict.fromkeys(t.problem_id or "" for t in traces)))
    names = map(split_name, solved)
    families = outcomes_by_family(solved, [*dict.fromkeys(f for f, k in names if k is not None)])
    weak, strong = outcomes([solved["weak"]]), outcomes([solved["strong"]])
    count = len(solved["weak"])
    whole = figures_of(families, weak, strong, Weights.draw(count, 0))
    others = [family for family in families if family != RIVAL]
    truth = {
        (family, name): figure["value"]
        for family in others
        for name, figure in figures_in(whole[family], whole[RIVAL])
    }
    held = dict.fromkeys(truth, 0)
    random = np.random.default_rng(0)
    for seed in range(DRAWS):
        problems = random.integers(count, size=count)
        figures = figures_of(
            {family: drawn(of_family, problems) for family, of_family in families.items()},
            drawn(weak, problems),
            drawn(strong, problems),
            Weights.draw(count, RESAMPLES, seed),
        )
        for family in others:
            for name, figure in figures_in(figures[family], figures[RIVAL]):
                if figure["interval"] is not None:
                    low, high = figure["interval"]
                    held[family, name] += low <= truth[family, name] <= high
    for (family, name), times in held.items():
        print(f"{family:>20} {name:>16} {times / DRAWS:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
