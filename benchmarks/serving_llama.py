"""Latency and throughput on llama.cpp's real HTTP server with the shipped models.

Solves `SLOTS` problems at a time, the servers' --parallel, in rounds of all arms. Part of `make
bench-serving`; prints a table and writes build/serving-llama.json. llama.cpp's floating-point sums
depend on the number of concurrent requests, so a few decisions differ between arms; they are
counted.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from llama_servers import llama_servers
from serving import (
    ALWAYS,
    CONCURRENT,
    LOCKSTEP,
    OVERLAP,
    STRONG,
    WARMING,
    WEAK,
    Arm,
    Run,
    interval,
    mean_quotient,
    solve_all,
)
from simulated.clock import ProcessorTime

from trim.config import RouterConfig
from trim.engines.http import HttpServer
from trim.evaluation.suites import CHAIN, generate
from trim.files import write_atomically
from trim.models.continuation import LLAMA_CPP, Continuation
from trim.models.openai import OpenAIModel
from trim.policies.fixed import WeakAlone
from trim.policies.threshold import Threshold
from trim.router import Router
from trim.scorers.label import HttpLabelScorer
from trim.shipped import SAMPLING

SLOTS = 4
PROBLEMS, SEED, ROUNDS = 60, 77, 7
THRESHOLD = 0.5
ARMS = (LOCKSTEP, CONCURRENT, OVERLAP, WARMING, ALWAYS, STRONG, WEAK)
OUT = Path("build/serving-llama.json")


def routing(urls: dict[str, str]) -> Router:
    def model(name: str) -> OpenAIModel:
        server = HttpServer(urls[name], concurrency=SLOTS)
        return OpenAIModel(server, name, continuation=Continuation.COMPLETIONS, dialect=LLAMA_CPP)

    scorer = HttpLabelScorer(model("scorer"))
    return Router(
        weak=model("weak"),
        strong=model("strong"),
        scorer=scorer,
        policy=WeakAlone(),
        config=RouterConfig(sampling=SAMPLING),
    )


def run(arm: Arm, urls: dict[str, str], listed: list[str]) -> Run:
    policy = arm.policy or Threshold(THRESHOLD)
    router = replace(routing(urls), policy=policy).with_config(**arm.settings)
    begun = ProcessorTime.now()
    solved, seconds = asyncio.run(solve_all(arm, router, listed, SLOTS, scale=1.0))
    spent = ProcessorTime.now() - begun
    threshold = None if arm.policy else THRESHOLD
    return Run(arm.name, threshold, SLOTS, solved, seconds, spent)


def typical(rounds: list[Run]) -> np.ndarray:
    """Seconds of each problem: the median of the rounds, as the machine may be busy in some."""
    return np.asarray(np.median([one.latencies for one in rounds], axis=0))


def pooled(rounds: list[Run]) -> dict[str, Any]:
    """Figures of an arm over all rounds."""
    latencies = typical(rounds)
    speeds = [len(one.solved) / one.seconds for one in rounds]
    figures = rounds[0].figures()
    return {
        **{name: figures[name] for name in figures if "token" in name or name in ("arm", "steps")},
        "seconds_median": round(float(np.median(latencies)), 4),
        "seconds_p90": round(float(np.quantile(latencies, 0.9)), 4),
        "seconds_mean": round(float(latencies.mean()), 4),
        "problems_per_second": round(float(np.median(speeds)), 2),
        "router_cpu_ms_per_step": round(
            float(np.median([one.figures()["router_cpu_ms_per_step"] for one in rounds])), 3
        ),
    }


def main() -> None:
    load = os.getloadavg()[0]
    listed = [problem.question for problem in generate(CHAIN, PROBLEMS, SEED)]
    rounds: dict[str, list[Run]] = {arm.name: [] for arm in ARMS}
    with llama_servers(SLOTS) as urls:
        run(CONCURRENT, urls, listed[:SLOTS])
        for _ in range(ROUNDS):
            for arm in ARMS:
                rounds[arm.name].append(run(arm, urls, listed))
    first = rounds["concurrent"][0].decisions
    lockstep = typical(rounds["lockstep"])
    figures = []
    for arm in ARMS:
        latencies = typical(rounds[arm.name])
        other: dict[str, Any] = {
            "lockstep_over_this": round(float(lockstep.mean() / latencies.mean()), 2),
            "lockstep_over_this_interval": interval(mean_quotient, lockstep, latencies),
        }
        if arm.policy is None:
            decided = [differing(one.decisions, first) for one in rounds[arm.name]]
            other["differing_traces"] = round(float(np.mean(decided)), 1)
        figures.append({**pooled(rounds[arm.name]), **other})
    OUT.parent.mkdir(exist_ok=True)
    record: dict[str, Any] = {"slots": SLOTS, "problems": PROBLEMS, "rounds": ROUNDS}
    record |= {"threshold": THRESHOLD, "load_before": load, "load_after": os.getloadavg()[0]}
    record["arms"] = figures
    write_atomically(OUT, json.dumps(record, indent=2) + "\n")
    show(record)


def differing(one: list[Any], other: list[Any]) -> int:
    """Traces with other texts or actions; the last digits of scores may differ."""
    return sum(
        [step[:3] for step in mine] != [step[:3] for step in theirs]
        for mine, theirs in zip(one, other, strict=True)
    )


def show(record: dict[str, Any]) -> None:
    print(f"\n## llama.cpp's server, {record['slots']} at a time, k = {record['threshold']}\n")
    print("| arm | median ms | p90 | mean | problems/s | lockstep / this | CPU ms/step | differ |")
    print("|---|---|---|---|---|---|---|---|")
    for f in record["arms"]:
        low, high = f["lockstep_over_this_interval"]
        print(
            f"| {f['arm']} | {1000 * f['seconds_median']:.0f} | {1000 * f['seconds_p90']:.0f}"
            f" | {1000 * f['seconds_mean']:.0f} | {f['problems_per_second']:.1f}"
            f" | {f['lockstep_over_this']:.2f} ({low:.2f}–{high:.2f})"
            f" | {f['router_cpu_ms_per_step']:.2f} | {f.get('differing_traces', '')} |"
        )
    print(f"\nload {record['load_before']:.1f} to {record['load_after']:.1f}; written to {OUT}")


if __name__ == "__main__":
    main()
