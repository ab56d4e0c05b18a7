"""Latency and throughput on simulated engines with stated speeds: `make bench-serving`.

The engines have the speeds of `simulated/speeds.py` and write what `simulated/script.py` says, so
that every arm takes the same decisions, which is checked. Each arm is run twice: with an event
loop whose time is simulated, where the router and its client take no time (all thresholds), and
over HTTP with the engines in a process of their own, at a stated part of real speed. The
difference is what the router, the client and the loopback cost.

Prints the tables and writes build/serving.json; docs/serving.md says what each figure means.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lockstep import Lockstep, LockstepModel, LockstepScorer
from simulated.clock import SimulatedLoop
from simulated.engine import Engine
from simulated.protocol import TEMPLATE, Direct
from simulated.script import WORDS
from simulated.server import Servers, serving
from simulated.speeds import ENGINES
from trim.engines.http import HttpServer
from trim.files import write_atomically
from trim.models.chat_template import ChatTemplate
from trim.models.continuation import Continuation
from trim.models.dialect import VLLM
from trim.models.model import Sampling
from trim.models.openai import OpenAIModel
from trim.policies.fixed import StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.threshold import Threshold
from trim.router import Router
from trim.scorers.pooling import SYSTEM, PoolingScorer
from trim.seeds import derive_seed
from trim.trace import Trace
from trim.warming import Warming

THRESHOLDS = [round(0.1 * step, 1) for step in range(1, 10)]
OUT = Path("build/serving.json")
SEED = 3
SAMPLES = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Level:
    """How many problems are solved at a time.

    Attributes:
        problems: in all.
        scale: seconds over HTTP for a simulated second.
        thresholds: those that are run over HTTP.
    """

    concurrent: int
    problems: int
    scale: float
    thresholds: tuple[float, ...]


LEVELS = (
    Level(1, 16, 0.05, (0.1, 0.5, 0.9)),
    Level(16, 64, 0.1, (0.1, 0.5, 0.9)),
    Level(64, 192, 0.2, (0.1, 0.5, 0.9)),
)
REAL = Level(64, 192, 1.0, (0.5,))
"""For what a step costs the router."""


@dataclass(frozen=True)
class Arm:
    """A way of solving problems.

    Attributes:
        policy: None for the threshold of the sweep.
        lockstep: in batches, as the authors' scripts do.
        settings: fields of the router.
        whole: the strong model writes each solution by one request.
    """

    name: str
    policy: Policy | None = None
    lockstep: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    whole: bool = False


ROUTED = (
    Arm("lockstep", lockstep=True),
    Arm("concurrent"),
    Arm("overlap", settings={"overlap": True}),
    Arm("overlap, warming likely", settings={"overlap": True, "warming": Warming.LIKELY}),
    Arm("overlap, warming always", settings={"overlap": True, "warming": Warming.ALWAYS}),
)
ALONE = (
    Arm("strong", StrongAlone()),
    Arm("strong, one request", whole=True),
    Arm("weak", WeakAlone()),
)


@dataclass(frozen=True)
class Solved:
    """One problem.

    Attributes:
        seconds: simulated, from its beginning to its end.
        delivered: until its whole batch was done, where there are batches.
        trace: None where the strong model wrote it by one request.
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
        cpu_seconds: processor time of the router's process.
    """

    arm: str
    threshold: float | None
    concurrent: int
    solved: list[Solved]
    seconds: float
    cpu_seconds: float
    engine: dict[str, Any] = field(default_factory=dict)

    @property
    def latencies(self) -> np.ndarray:
        return np.array([one.seconds for one in self.solved])

    @property
    def steps(self) -> int:
        return sum(len(one.trace.steps) for one in self.solved if one.trace)

    @property
    def decisions(self) -> list[Any]:
        """Texts, authors, actions and scores: what no arm may change."""
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
            "router_cpu_ms_per_step": round(1000 * self.cpu_seconds / max(self.steps, 1), 3),
            **self.engine,
        }


def interval(statistic: Callable[..., Any], *values: np.ndarray) -> list[float]:
    """95 % bootstrap over problems; several arrays are resampled together."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(values[0]), (SAMPLES, len(values[0])))
    found = [statistic(*(array[row] for array in values)) for row in drawn]
    return [round(float(bound), 3) for bound in np.quantile(found, [0.025, 0.975])]


def questions(count: int) -> list[str]:
    """Texts of 45 tokens, the mean of MATH-500."""
    starts = [derive_seed("question", number) % 8000 for number in range(count)]
    return [f"{n}: " + " ".join(WORDS[start : start + 44]) for n, start in enumerate(starts)]


def routing(server_of: Callable[[str], Any], log_probabilities: bool = False) -> Router:
    """A router whose models and scorer are reached by these servers."""
    template = ChatTemplate(TEMPLATE, {}, "simulated")
    weak, strong = (
        OpenAIModel(
            server_of(name),
            name,
            Continuation.COMPLETIONS,
            VLLM,
            template=template,
            system=SYSTEM,
            log_probabilities=log_probabilities,
            token_ids=False,
        )
        for name in ("weak", "strong")
    )
    scorer = PoolingScorer(server_of("scorer"), "scorer", template)
    return Router(weak, strong, scorer, WeakAlone(), Sampling())


async def solve_one(arm: Arm, router: Router, question: str) -> tuple[int, Trace | None]:
    """Tokens of the strong model, and the trace."""
    if arm.whole:
        answer = await router.strong.go_on(question, "", 30_000)
        return answer.usage.tokens, None
    trace = await router.asolve(question, SEED)
    return trace.strong_tokens, trace


async def solve_batch(arm: Arm, router: Router, batch: Sequence[str], now: Any) -> list[Solved]:
    """In lockstep; a result can be used when its problem is done, or when all of them are."""
    lockstep = Lockstep(len(batch))
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
    """All problems, and the simulated seconds that they take together."""
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
    arm: Arm, threshold: float | None, level: Level, urls: Servers | None, **settings: Any
) -> Run:
    """Over HTTP where there are servers, else in simulated time."""

    def server_of(name: str) -> Any:
        if urls:
            return HttpServer(urls.urls[name], concurrency=4 * level.concurrent)
        return Direct(name, Engine(ENGINES[name]))

    router = replace(
        routing(server_of, **settings),
        policy=arm.policy or Threshold(threshold or 0.0),
        **arm.settings,
    )
    listed = questions(level.problems)
    if urls:
        urls.report()
    gc.collect()
    with asyncio.Runner(loop_factory=None if urls else SimulatedLoop) as runner:
        cpu = time.process_time()
        scale = level.scale if urls else 1.0
        solved, seconds = runner.run(solve_all(arm, router, listed, level.concurrent, scale))
        cpu = time.process_time() - cpu
    engine = engine_figures(urls) if urls else {}
    return Run(arm.name, threshold, level.concurrent, solved, seconds, cpu, engine)


def engine_figures(urls: Servers) -> dict[str, Any]:
    """What the engines' process itself has cost, in real milliseconds."""
    report = urls.report()
    late = np.array([second for books in report.books.values() for second in books.late])
    requests = sum(books.requests for books in report.books.values())
    return {
        "requests": requests,
        "engine_cpu_ms_per_request": round(1000 * report.cpu_seconds / requests, 3),
        "engine_late_ms_mean": round(1000 * float(late.mean()), 3),
        "engine_late_ms_p99": round(1000 * float(np.quantile(late, 0.99)), 3),
    }


def runs(
    level: Level, thresholds: Sequence[float], urls: Servers | None, arms: Sequence[Arm] = ROUTED
) -> Iterator[Run]:
    """All arms in turn at each threshold, with equal decisions; the models alone between them."""
    for number, threshold in enumerate(thresholds):
        if number == len(thresholds) // 2:
            for arm in ALONE:
                yield run(arm, None, level, urls)
        routed = [run(arm, threshold, level, urls) for arm in arms]
        for other in routed[1:]:
            if other.decisions != routed[0].decisions:
                raise AssertionError(f"{other.arm} decides otherwise than {routed[0].arm}")
        yield from routed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--simulated-only", action="store_true", help="Nothing over HTTP.")
    chosen = parser.parse_args()
    figures: dict[str, Any] = {"engines": {n: asdict(s) for n, s in ENGINES.items()}, "runs": []}
    for level in LEVELS:
        simulated = list(runs(level, THRESHOLDS, None))
        show(simulated, f"{level.concurrent} at a time, in simulated time")
        figures["runs"] += [{"clock": "simulated", **one.figures()} for one in simulated]
        if chosen.simulated_only:
            continue
        with serving(ENGINES, level.scale) as urls:
            measured = list(runs(level, level.thresholds, urls))
        show(measured, f"{level.concurrent} at a time, over HTTP at {level.scale:g} s a second")
        figures["runs"] += [
            {"clock": "http", "scale": level.scale, **one.figures()} for one in measured
        ]
    OUT.parent.mkdir(exist_ok=True)
    write_atomically(OUT, json.dumps(figures, indent=2) + "\n")
    print(f"written to {OUT}")


def show(listed: Sequence[Run], title: str) -> None:
    alone = {one.arm: one for one in listed if one.threshold is None}
    strong = alone["strong"]
    share = sum(one.strong_tokens for one in strong.solved)
    print(f"\n## {title}\n")
    print("| arm | k | median s (95 %) | mean s | p90 s | problems/s | lockstep / this | c |")
    print("|---|---|---|---|---|---|---|---|")
    batches = {one.threshold: one for one in listed if one.arm == "lockstep"}
    for one in listed:
        f = one.figures()
        low, high = f["seconds_median_interval"]
        ratio = math.nan
        if one.threshold in batches:
            ratio = batches[one.threshold].latencies.mean() / one.latencies.mean()
        print(
            f"| {one.arm} | {one.threshold or ''} | {f['seconds_median']:.2f} ({low:.2f}–{high:.2f})"
            f" | {f['seconds_mean']:.2f} | {f['seconds_p90']:.2f} | {f['problems_per_second']:.2f}"
            f" | {ratio:.2f} | {f['strong_tokens'] / share:.2f} |"
        )


if __name__ == "__main__":
    main()
