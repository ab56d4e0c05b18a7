"""Latency and throughput on simulated engines with given speeds: `make bench-serving`.

The engines have the speeds of `simulated/speeds.py` and write the texts of `simulated/script.py`;
every arm takes the same decisions, which is checked. Each arm runs twice: on an event loop with
simulated time, where the router and its client take no time (all thresholds), and over HTTP with
the engines in a further process, at a given fraction of real speed. The difference is the cost of
the router, the client and the loopback.

Prints the tables and writes build/serving.json; docs/results/serving.md explains the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from lockstep import Lockstep, LockstepModel, LockstepScorer
from simulated.clock import ProcessorTime, SimulatedLoop
from simulated.engine import Engine
from simulated.protocol import TEMPLATE, Direct
from simulated.script import SPREAD, WORDS
from simulated.server import Servers, serving
from simulated.speeds import ENGINES

from trim.config import PrefillMode, RouterConfig
from trim.engines.chat_template import ChatTemplate
from trim.engines.http import HttpServer
from trim.files import write_atomically
from trim.models.continuation import VLLM, Continuation
from trim.models.model import Sampling
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt
from trim.numerics import derive_seed
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.threshold import Threshold
from trim.router import Router
from trim.scorers.pooling import SYSTEM, PoolingScorer
from trim.types import Trace

THRESHOLDS = [round(0.1 * step, 1) for step in range(1, 10)]
OUT, OUT_SIMULATED = Path("build/serving.json"), Path("build/serving-simulated.json")
SEED = 3
SPREADS = (0.0, 0.3, 0.6, SPREAD)
"""From steps that are all of one length to those of real traces."""
SAMPLES = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Level:
    """A number of problems solved at a time.

    Attributes:
        problems: in all.
        scale: seconds over HTTP per simulated second.
        thresholds: those run over HTTP.
    """

    concurrent: int
    problems: int
    scale: float
    thresholds: tuple[float, ...]


LEVELS = (
    Level(1, 32, 0.05, (0.1, 0.5, 0.9)),
    Level(16, 64, 0.1, (0.1, 0.5, 0.9)),
    Level(64, 192, 0.2, (0.1, 0.5, 0.9)),
)
REAL = Level(64, 128, 1.0, (0.5,))
"""At real speed, to measure the router's cost per step."""
ROUNDS = 3


@dataclass(frozen=True)
class Arm:
    """A way of solving problems.

    Attributes:
        policy: None for the sweep's threshold.
        lockstep: in batches, as the authors' scripts do.
        settings: fields of its `RouterConfig`.
        whole: the strong model writes each solution in one request.
    """

    name: str
    policy: Policy | None = None
    lockstep: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    whole: bool = False


LOCKSTEP = Arm("lockstep", lockstep=True)
CONCURRENT = Arm("concurrent")
OVERLAP = Arm("overlap", settings={"overlap": True})
WARMING = Arm("warming likely", settings={"overlap": True, "prefill": PrefillMode.LIKELY})
ALWAYS = Arm("warming always", settings={"overlap": True, "prefill": PrefillMode.ALWAYS})
ROUTED = (LOCKSTEP, CONCURRENT, OVERLAP, WARMING, ALWAYS)
STRONG = Arm("strong", StrongAlone())
STRONG_WHOLE = Arm("strong, one request", whole=True)
WEAK = Arm("weak", WeakAlone())
ALONE = (STRONG, STRONG_WHOLE, WEAK)


@dataclass(frozen=True)
class Solved:
    """One problem.

    Attributes:
        seconds: simulated, from its beginning to its end.
        delivered: until its whole batch was done, if there are batches.
        trace: None if the strong model wrote it in one request.
    """

    seconds: float
    delivered: float
    strong_tokens: int
    trace: Trace | None = None


@dataclass(frozen=True)
class Run:
    """One arm at one threshold.

    Attributes:
        seconds: simulated, of all problems together.
        processor: CPU time of the router's process.
        engine: figures of the engines' process, where there is one.
    """

    arm: str
    threshold: float | None
    concurrent: int
    solved: list[Solved]
    seconds: float
    processor: ProcessorTime
    engine: dict[str, Any] = field(default_factory=dict)

    @property
    def latencies(self) -> np.ndarray:
        return np.array([one.seconds for one in self.solved])

    @property
    def steps(self) -> int:
        return sum(len(one.trace.steps) for one in self.solved if one.trace)

    @property
    def decisions(self) -> list[Any]:
        """Texts, authors, actions and scores, which must be the same in all arms."""
        return [
            [(step.text, step.author, step.action, step.score) for step in one.trace.steps]
            for one in self.solved
            if one.trace
        ]

    def figures(self) -> dict[str, Any]:
        traces = [one.trace for one in self.solved if one.trace]
        latencies = self.latencies
        return {
            "arm": self.arm,
            "threshold": self.threshold,
            "concurrent": self.concurrent,
            "problems": len(self.solved),
            "seconds_median": round(float(np.median(latencies)), 3),
            "seconds_median_interval": interval(np.median, latencies),
            "seconds_mean": round(float(latencies.mean()), 3),
            "seconds_mean_interval": interval(np.mean, latencies),
            "seconds_p90": round(float(np.quantile(latencies, 0.9)), 3),
            "delivered_median": round(float(np.median([o.delivered for o in self.solved])), 3),
            "problems_per_second": round(len(self.solved) / self.seconds, 3),
            "steps": self.steps,
            "strong_tokens": sum(one.strong_tokens for one in self.solved),
            "weak_tokens_kept": sum(trace.weak_tokens for trace in traces),
            "weak_tokens_discarded": sum(trace.discarded_tokens for trace in traces),
            "weak_tokens_dropped": sum(trace.dropped_tokens for trace in traces),
            "scorer_tokens": sum(trace.scorer_tokens for trace in traces),
            "router_cpu_ms_per_step": per(self.processor.used, self.steps),
            "router_waited_ms_per_step": per(self.processor.waited, self.steps),
            **self.engine,
        }


def per(seconds: float, count: int) -> float | None:
    """Milliseconds for each of `count`."""
    return round(1000 * seconds / count, 3) if count and not math.isnan(seconds) else None


def interval(statistic: Callable[..., Any], *values: np.ndarray) -> list[float]:
    """95 % bootstrap over problems; several arrays are resampled together."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(values[0]), (SAMPLES, len(values[0])))
    found = [statistic(*(array[row] for array in values)) for row in drawn]
    return [round(float(bound), 3) for bound in np.quantile(found, [0.025, 0.975])]


def mean_quotient(slower: np.ndarray, faster: np.ndarray) -> float:
    return float(slower.mean() / faster.mean())


def questions(count: int) -> list[str]:
    """Texts of 45 tokens, the mean of MATH-500."""
    starts = [derive_seed("question", number) % 8000 for number in range(count)]
    return [f"{n}: " + " ".join(WORDS[start : start + 44]) for n, start in enumerate(starts)]


def routing(server_of: Callable[[str], Any], log_probabilities: bool | None = False) -> Router:
    """A router whose models and scorer call these servers."""
    template = ChatTemplate(TEMPLATE, {}, "simulated")
    weak, strong = (
        OpenAIModel(
            server_of(name),
            name,
            continuation=Continuation.COMPLETIONS,
            dialect=VLLM,
            template=template,
            prompt=Prompt(SYSTEM),
            log_probabilities=log_probabilities,
            token_ids=False,
        )
        for name in ("weak", "strong")
    )
    scorer = PoolingScorer(server_of("scorer"), "scorer", template=template)
    return Router(
        weak=weak,
        strong=strong,
        scorer=scorer,
        policy=WeakAlone(),
        config=RouterConfig(sampling=Sampling()),
    )


async def solve_one(arm: Arm, router: Router, question: str) -> tuple[int, Trace | None]:
    """Tokens of the strong model, and the trace."""
    if arm.whole:
        assert isinstance(router.strong, OpenAIModel)
        answer = await router.strong.continue_text(question, "", 30_000)
        return answer.usage.tokens, None
    trace = await router.asolve(question, SEED)
    return trace.strong_tokens, trace


async def solve_batch(arm: Arm, router: Router, batch: Sequence[str], now: Any) -> list[Solved]:
    """Solve a batch in lockstep; records when each problem and the whole batch is done."""
    lockstep = Lockstep(len(batch))
    assert router.scorer
    router = replace(
        router,
        weak=LockstepModel(router.weak, lockstep, "weak"),
        strong=LockstepModel(router.strong, lockstep, "strong"),
        scorer=LockstepScorer(router.scorer, lockstep),
    )
    begin = now()

    async def solve(question: str) -> Solved:
        tokens, trace = await solve_one(arm, router, question)
        lockstep.solved()
        return Solved(now() - begin, 0.0, tokens, trace)

    solved = await asyncio.gather(*map(solve, batch))
    return [replace(one, delivered=now() - begin) for one in solved]


async def solve_all(
    arm: Arm, router: Router, listed: Sequence[str], concurrent: int, scale: float
) -> tuple[list[Solved], float]:
    """Solve all problems; returns them and the simulated seconds that they take together."""
    clock = asyncio.get_running_loop().time

    def now() -> float:
        return clock() / scale

    begin = now()
    solved: dict[int, Solved] = {}
    if arm.lockstep:
        for first in range(0, len(listed), concurrent):
            batch = await solve_batch(arm, router, listed[first : first + concurrent], now)
            solved |= dict(enumerate(batch, first))
    else:
        left = iter(enumerate(listed))

        async def worker() -> None:
            for index, question in left:
                started = now()
                tokens, trace = await solve_one(arm, router, question)
                seconds = now() - started
                solved[index] = Solved(seconds, seconds, tokens, trace)

        await asyncio.gather(*(worker() for _ in range(concurrent)))
    return [solved[index] for index in range(len(listed))], now() - begin


def run(
    arm: Arm,
    threshold: float | None,
    level: Level,
    urls: Servers | None,
    spread: float = SPREAD,
    **settings: Any,
) -> Run:
    """Run an arm over HTTP if there are servers, else in simulated time."""

    def server_of(name: str) -> Any:
        if urls:
            return HttpServer(urls.urls[name], concurrency=4 * level.concurrent)
        return Direct(name, Engine(ENGINES[name]), spread)

    router = replace(
        routing(server_of, **settings),
        policy=arm.policy or Threshold(threshold or 0.0),
    ).with_config(**arm.settings)
    listed = questions(level.problems)
    if urls:
        urls.report()
    gc.collect()
    with asyncio.Runner(loop_factory=None if urls else SimulatedLoop) as runner:
        begun = ProcessorTime.now()
        scale = level.scale if urls else 1.0
        solved, seconds = runner.run(solve_all(arm, router, listed, level.concurrent, scale))
        spent = ProcessorTime.now() - begun
    engine = engine_figures(urls) if urls else {}
    return Run(arm.name, threshold, level.concurrent, solved, seconds, spent, engine)


def engine_figures(urls: Servers) -> dict[str, Any]:
    """CPU time of the engines' process, and how late its answers were in real time."""
    report = urls.report()
    late = np.array([second for counters in report.engines.values() for second in counters.late])
    requests = sum(counters.requests for counters in report.engines.values())
    return {
        "requests": requests,
        "engine_cpu_ms_per_request": per(report.processor.used, requests),
        "engine_waited_ms_per_request": per(report.processor.waited, requests),
        "engine_late_ms_median": per(float(np.median(late)), 1),
        "engine_late_ms_p99": per(float(np.quantile(late, 0.99)), 1),
    }


def runs(
    level: Level, thresholds: Sequence[float], urls: Servers | None, arms: Sequence[Arm]
) -> Iterator[Run]:
    """Run all arms at each threshold and check that their decisions are equal; also run the models
    alone."""
    for number, threshold in enumerate(thresholds):
        if number == len(thresholds) // 2:
            for arm in ALONE:
                yield run(arm, None, level, urls)
        routed = [run(arm, threshold, level, urls) for arm in arms]
        for other in routed[1:]:
            if other.decisions != routed[0].decisions:
                raise AssertionError(f"{other.arm} decides otherwise than {routed[0].arm}")
        yield from routed


def evenness() -> Iterator[dict[str, Any]]:
    """How much of lockstep's loss is due to steps of different lengths."""
    for level in LEVELS[1:]:
        for spread in SPREADS:
            lockstep, overlap = (run(arm, 0.5, level, None, spread) for arm in (LOCKSTEP, OVERLAP))
            yield {
                "spread": spread,
                "concurrent": level.concurrent,
                "lockstep_over_overlap": ratio(lockstep, overlap),
            }


def overhead(urls: Servers) -> Iterator[dict[str, Any]]:
    """Cost per step at real speed with the client's default settings; arms alternate."""
    simulated = {
        arm.name: run(arm, 0.5, REAL, None, log_probabilities=None) for arm in (CONCURRENT, WARMING)
    }
    for _ in range(ROUNDS):
        for arm in (CONCURRENT, WARMING):
            real = run(arm, 0.5, REAL, urls, log_probabilities=None)
            ideal = simulated[arm.name]
            if real.decisions != ideal.decisions:
                raise AssertionError(f"{arm.name} decides otherwise over HTTP")
            added = real.latencies.sum() - ideal.latencies.sum()
            yield {"wall_ms_per_step": per(float(added), real.steps), **real.figures()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency and throughput on simulated engines.")
    parser.add_argument("--simulated-only", action="store_true", help="Nothing over HTTP.")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {
        "engines": {name: asdict(speeds) for name, speeds in ENGINES.items()},
        "load_before": os.getloadavg()[0],
        "runs": [],
        "overhead": [],
    }
    for level in LEVELS:
        simulated = list(runs(level, THRESHOLDS, None, ROUTED))
        show(simulated, f"{level.concurrent} at a time, in simulated time")
        figures["runs"] += [{"clock": "simulated", **one.figures()} for one in simulated]
        if chosen.simulated_only:
            continue
        with serving(ENGINES, level.scale) as urls:
            measured = list(runs(level, level.thresholds, urls, ROUTED[:-1]))
        show(measured, f"{level.concurrent} at a time, over HTTP at {level.scale:g} s a second")
        figures["runs"] += [
            {"clock": "http", "scale": level.scale, **one.figures()} for one in measured
        ]
    figures["evenness"] = list(evenness())
    print("\n## Steps of more even lengths, k = 0.5, in simulated time\n")
    for one in figures["evenness"]:
        print("{concurrent} at a time, spread {spread}: {lockstep_over_overlap}".format_map(one))
    if not chosen.simulated_only:
        with serving(ENGINES, REAL.scale) as urls:
            figures["overhead"] = list(overhead(urls))
        show_overhead(figures["overhead"])
    figures["load_after"] = os.getloadavg()[0]
    out = OUT_SIMULATED if chosen.simulated_only else OUT
    out.parent.mkdir(exist_ok=True)
    write_atomically(out, json.dumps(figures, indent=2) + "\n")
    print(f"\nload {figures['load_before']:.1f} to {figures['load_after']:.1f}; written to {out}")


def show(listed: Sequence[Run], title: str) -> None:
    """Seconds a problem, median and 90th percentile, and how they compare."""
    alone = {one.arm: one for one in listed if one.threshold is None}
    share = sum(one.strong_tokens for one in alone["strong"].solved)
    print(f"\n## {title}\n")
    print("alone: " + ", ".join(f"{name} {seconds(one)}" for name, one in alone.items()) + "\n")
    found = {(one.threshold, one.arm): one for one in listed}
    names = [arm.name for arm in ROUTED if any(one.arm == arm.name for one in listed)]
    heads = ["k", *names, "lockstep / overlap", "strong / overlap", "problems/s", "c", "dropped"]
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for threshold in sorted({one.threshold for one in listed if one.threshold is not None}):
        arms = {name: found[threshold, name] for name in names}
        overlap, lockstep = arms["overlap"].figures(), arms["lockstep"].figures()
        print(
            f"| {threshold} | {' | '.join(map(seconds, arms.values()))}"
            f" | {ratio(arms['lockstep'], arms['overlap'])}"
            f" | {ratio(alone['strong'], arms['overlap'])}"
            f" | {lockstep['problems_per_second']:.2f} → {overlap['problems_per_second']:.2f}"
            f" | {overlap['strong_tokens'] / share:.2f}"
            f" | {overlap['weak_tokens_dropped'] / len(arms['overlap'].solved):.0f} |"
        )


def seconds(one: Run) -> str:
    f = one.figures()
    return f"{f['seconds_median']:.2f} / {f['seconds_p90']:.2f}"


def ratio(slower: Run, faster: Run) -> str:
    """Of the mean seconds a problem; resampled over problems."""
    one, other = slower.latencies, faster.latencies
    low, high = interval(mean_quotient, one, other)
    return f"{mean_quotient(one, other):.2f} ({low:.2f}–{high:.2f})"


def show_overhead(rounds: Sequence[dict[str, Any]]) -> None:
    print("\n## What a step costs, milliseconds, 64 at a time at real speed\n")
    names = [
        *("arm", "wall_ms_per_step", "router_cpu_ms_per_step", "router_waited_ms_per_step"),
        *("engine_cpu_ms_per_request", "engine_waited_ms_per_request", "engine_late_ms_median"),
        "engine_late_ms_p99",
    ]
    print(f"| {' | '.join(name.replace('_', ' ') for name in names)} |")
    print("|---" * len(names) + "|")
    for figures in rounds:
        print(f"| {' | '.join(str(figures[name]) for name in names)} |")


if __name__ == "__main__":
    main()
