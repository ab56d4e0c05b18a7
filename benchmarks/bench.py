"""Speed of the router on the shipped models: `make bench`.

Prints and writes to build/bench.json: problems per second routed and by each model alone, the
share of the time outside models, a sweep of 20 thresholds with shared prefixes against 20
separate runs (with prompt caches, and with deterministic `exact` engines), and peak memory.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import CHAIN, generate
from trim.files import write_atomically
from trim.models.model import Completion, Model, Prefix, Sampling
from trim.policies.registry import parse_policies
from trim.scorers.scorer import Scorer, Scores
from trim.shipped import SAMPLING
from trim.types import Trace

Result = TypeVar("Result")
PROBLEMS, SEED, ROUNDS = 120, 77, 3
SWEEP_PROBLEMS = 40
THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 21)]
OUT = Path("build/bench.json")


class Clock:
    """Measures the time during which at least one call is under way."""

    def __init__(self) -> None:
        self.busy = self._since = 0.0
        self._calls = 0

    async def time(self, call: Awaitable[Result]) -> Result:
        if self._calls == 0:
            self._since = time.perf_counter()
        self._calls += 1
        try:
            return await call
        finally:
            self._calls -= 1
            if self._calls == 0:
                self.busy += time.perf_counter() - self._since


@dataclass(frozen=True)
class TimedModel:
    model: Model
    clock: Clock

    @property
    def name(self) -> str:
        return self.model.name

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        return await self.clock.time(self.model.write_step(prefix, sampling, seed))


@dataclass(frozen=True)
class TimedScorer:
    scorer: Scorer
    clock: Clock

    @property
    def name(self) -> str:
        return self.scorer.name

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await self.clock.time(self.scorer.score(trace, written))


def run(evaluation: Evaluation, *specs: str, share: bool = True) -> tuple[float, list[Trace]]:
    """Run an evaluation with these policies; returns its seconds and traces."""
    policies = [policy for spec in specs for policy in parse_policies(spec)]
    evaluation = replace(evaluation, policies=policies, share_prefixes=share)
    with TemporaryDirectory() as folder:
        store = TraceStore(Path(folder), {"policies": [policy.name for policy in policies]})
        started = time.perf_counter()
        asyncio.run(evaluation.run(store))
        seconds = time.perf_counter() - started
        store.close()
        return seconds, store.read()


def outcome(traces: list[Trace]) -> dict[tuple[str, str], object]:
    """Texts, decisions, tokens and answers, which must not depend on sharing.

    Scores are left out: without `exact` engines their last digits differ.
    """
    return {
        (t.policy, t.problem_id or ""): (
            [replace(step, score=None) for step in t.steps],
            t.answer,
            t.correct,
            t.usage["strong"].tokens,
        )
        for t in traces
    }


def compare_sweeps(sweep: Evaluation) -> tuple[float, int, int]:
    """Time ratio of shared to separate prefixes, number of differing traces, number of traces."""
    shared_seconds, shared = run(sweep, *(f"thr:{k}" for k in THRESHOLDS))
    separate_seconds, separate = 0.0, []
    for threshold in THRESHOLDS:
        seconds, traces = run(sweep, f"thr:{threshold}", share=False)
        separate_seconds += seconds
        separate += traces
    expected = outcome(shared)
    differing = sum(expected[key] != value for key, value in outcome(separate).items())
    return shared_seconds / separate_seconds, differing, len(separate)


def main() -> None:
    models = shipped_models()
    scorer = models.scorer
    assert scorer
    problems = list(generate(CHAIN, PROBLEMS, SEED))
    evaluation = Evaluation(problems, [], models, scorer, SEED, RouterConfig(sampling=SAMPLING))
    speeds: dict[str, list[float]] = {"weak": [], "strong": [], "thr:0.5": []}
    for _ in range(ROUNDS):
        for spec, measured in speeds.items():
            measured.append(PROBLEMS / run(evaluation, spec)[0])
    median = {spec: statistics.median(measured) for spec, measured in speeds.items()}

    # One problem at a time: with more, calls of other problems would hide the time outside models.
    clock = Clock()
    timed = replace(
        evaluation,
        problems=problems[:SWEEP_PROBLEMS],
        models=replace(
            models,
            weak=TimedModel(models.weak, clock),
            strong=TimedModel(models.strong, clock),
        ),
        scorer=TimedScorer(scorer, clock),
        concurrency=1,
    )
    alone_seconds, _ = run(timed, "thr:0.5")

    sweep = replace(evaluation, problems=problems[:SWEEP_PROBLEMS])
    ratio, differing, traces = compare_sweeps(sweep)
    exact = shipped_models(exact=True)
    exact_sweep = replace(sweep, models=exact, scorer=exact.scorer)
    exact_ratio, exact_differing, _ = compare_sweeps(exact_sweep)

    figures = {
        "problems": PROBLEMS,
        "rounds": ROUNDS,
        "problems_per_second": {spec: round(speed, 2) for spec, speed in median.items()},
        "routed_over_strong": round(median["thr:0.5"] / median["strong"], 3),
        "routed_over_weak": round(median["thr:0.5"] / median["weak"], 3),
        "share_outside_models": round(1 - clock.busy / alone_seconds, 4),
        "sweep_thresholds": len(THRESHOLDS),
        "sweep_problems": SWEEP_PROBLEMS,
        "sweep_traces": traces,
        "sweep_shared_over_separate": round(ratio, 3),
        "sweep_differing_traces": differing,
        "exact_sweep_shared_over_separate": round(exact_ratio, 3),
        "exact_sweep_differing_traces": exact_differing,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "python": sys.version.split()[0],
    }
    OUT.parent.mkdir(exist_ok=True)
    write_atomically(OUT, json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
