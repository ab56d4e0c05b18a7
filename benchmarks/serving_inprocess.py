"""What a strong call inside a step costs trim itself, and seconds a problem in-process.

Three measurements, in real time and in one process:

- own cost: processor time and latency that a call of the strong model adds, with models that take
  no time. The difference to the same texts without calls, so that restarting the draft counts too.
- calls: seconds of a one-token call of the shipped strong model, and how many of them llama.cpp's
  own timings leave over.
- seconds a problem of `chain`, one at a time. Each policy has engines of its own; in a round every
  policy solves the same new problem, one policy after the other.

Part of `make bench-serving`; prints tables and writes build/serving-inprocess.json.
docs/results/serving.md explains the figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving import questions
from simulated.drafts import GeneratedDrafts
from simulated.model import SimulatedModel

from trim.config import PrefillMode, RouterConfig
from trim.configuration.source import shipped_models
from trim.engines.llama_cpp import Generation
from trim.evaluation.suites import CHAIN, SuiteProblem, generate
from trim.files import write_atomically
from trim.models.llama_cpp import LlamaCppModel
from trim.models.model import Sampling
from trim.router import Router
from trim.shipped import SAMPLING
from trim.types import Trace

OUT = Path("build/serving-inprocess.json")
SEED = 3
ROUNDS = 150
POLICIES = (
    *("strong", "weak", "thr:0.5", "thr:0.9", "thr:0.97"),
    *("token:0.5", "token:0.7", "token:0.9", "tail:0.9"),
)
PREFILLED = "token:0.9, prefill always"
OWN = ("token:0.3", "token:0.5", "token:0.7", "token:0.9")
OWN_PROBLEMS, OWN_ROUNDS = 20, 9


def no_tokens(text: str) -> Sequence[str]:
    return ()


def own_cost() -> list[dict[str, Any]]:
    """Milliseconds that a strong call adds, of processor time and of latency: medians of rounds."""
    drafts = GeneratedDrafts()
    weak, strong = (SimulatedModel(name, drafts, no_tokens) for name in ("weak", "strong"))
    config = RouterConfig(sampling=Sampling())
    listed = questions(OWN_PROBLEMS)

    def solve(policy: str) -> tuple[float, float, int]:
        """Processor time, seconds and strong calls."""
        router = Router(weak=weak, strong=strong, policy=policy, config=config)
        gc.collect()
        with asyncio.Runner() as runner:
            processor, begun = time.process_time(), time.perf_counter()
            traces = [runner.run(router.asolve(question, SEED)) for question in listed]
            spent = time.process_time() - processor, time.perf_counter() - begun
        return *spent, sum(trace.usage["strong"].requests for trace in traces)

    solve("token:1")  # generates the texts
    rounds: dict[str, list[tuple[float, float]]] = {policy: [] for policy in OWN}
    calls: dict[str, int] = {}
    for _ in range(OWN_ROUNDS):
        *without, _ = solve("token:0")
        for policy in OWN:
            *spent, calls[policy] = solve(policy)
            added = [with_calls - none for with_calls, none in zip(spent, without, strict=True)]
            rounds[policy].append((added[0] / calls[policy], added[1] / calls[policy]))
    return [
        {
            "policy": policy,
            "calls": calls[policy] / OWN_PROBLEMS,
            "cpu_ms_per_call": milliseconds([cpu for cpu, _ in rounds[policy]]),
            "wall_ms_per_call": milliseconds([wall for _, wall in rounds[policy]]),
        }
        for policy in OWN
    ]


def milliseconds(seconds: Sequence[float]) -> float:
    return round(1000 * statistics.median(seconds), 3)


class Timed:
    """Seconds of an engine's requests inside steps, and those that llama.cpp computed.

    Replaces `stream` of the model's engine.
    """

    def __init__(self, model: LlamaCppModel) -> None:
        self.calls: list[tuple[float, float]] = []
        self._stream = model.engine.stream
        model.engine.stream = self.stream  # type: ignore[method-assign]

    async def stream(
        self, prompt: str | list[str | int], read: Callable[[dict[str, Any]], bool], **settings: Any
    ) -> Generation:
        done = await self._stream(prompt, read, **settings)
        timings = done.raw["timings"]
        self.calls.append((done.seconds, (timings["prompt_ms"] + timings["predicted_ms"]) / 1000))
        return done


class Arm:
    """A policy with engines of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        models = shipped_models()
        prefill = PrefillMode.ALWAYS if name == PREFILLED else PrefillMode.NEVER
        config = RouterConfig(sampling=SAMPLING, prefill=prefill)
        self.router = Router.of(models, policy=name.partition(",")[0], config=config)
        assert isinstance(models.strong, LlamaCppModel)
        self.timed = Timed(models.strong)
        self.rounds: list[float] = []
        self.processor: list[float] = []
        self.traces: list[tuple[SuiteProblem, Trace]] = []

    async def solve(self, problem: SuiteProblem) -> None:
        processor, begun = time.process_time(), time.perf_counter()
        trace = await self.router.asolve(problem.question, SEED)
        self.rounds.append(time.perf_counter() - begun)
        self.processor.append(time.process_time() - processor)
        self.traces.append((problem, trace))

    def figures(self, strong: Arm) -> dict[str, Any]:
        """Medians of the rounds; tokens and calls are means. Processor time is the engines' too."""
        count = len(self.traces)
        ratios = [mine / other for mine, other in zip(self.rounds, strong.rounds, strict=True)]
        used = [trace.usage["strong"] for _, trace in self.traces]
        right = sum(trace.answer == problem.answer for problem, trace in self.traces)
        return {
            "policy": self.name,
            "ms_per_problem": milliseconds(self.rounds),
            "cpu_ms_per_problem": milliseconds(self.processor),
            "of_strong_alone": round(statistics.median(ratios), 2),
            "of_strong_alone_quartiles": [
                round(bound, 2) for bound in statistics.quantiles(ratios, n=4)[::2]
            ],
            "cpu_of_strong_alone": round(sum(self.processor) / sum(strong.processor), 2),
            "right": round(right / count, 3),
            "strong_tokens": round(sum(one.tokens for one in used) / count, 2),
            "strong_calls": round(sum(one.requests for one in used) / count, 2),
            "call_ms": milliseconds([whole for whole, _ in self.timed.calls] or [0.0]),
            "call_outside_ms": milliseconds([a - b for a, b in self.timed.calls] or [0.0]),
        }


async def in_process() -> list[dict[str, Any]]:
    arms = [Arm(name) for name in (*POLICIES, PREFILLED)]
    first, *problems = generate(CHAIN, ROUNDS + 1, SEED)
    for arm in arms:
        await arm.router.asolve(first.question, SEED)
    for number, problem in enumerate(problems):
        turn = number % len(arms)
        for arm in (*arms[turn:], *arms[:turn]):
            await arm.solve(problem)
    return [arm.figures(arms[0]) for arm in arms]


def show(title: str, listed: Sequence[dict[str, Any]]) -> None:
    print(f"\n## {title}\n")
    print(f"| {' | '.join(name.replace('_', ' ') for name in listed[0])} |")
    print("|---" * len(listed[0]) + "|")
    for figures in listed:
        print(f"| {' | '.join(str(value) for value in figures.values())} |")


def main() -> None:
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    figures["own"] = own_cost()
    show("What a strong call inside a step costs trim itself", figures["own"])
    figures["in_process"] = asyncio.run(in_process())
    show("In-process, chain, one problem at a time", figures["in_process"])
    figures["load_after"] = os.getloadavg()[0]
    OUT.parent.mkdir(exist_ok=True)
    write_atomically(OUT, json.dumps(figures, indent=2) + "\n")
    print(f"\nload {figures['load_before']:.1f} to {figures['load_after']:.1f}; written to {OUT}")


if __name__ == "__main__":
    main()
