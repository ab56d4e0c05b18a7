"""Seconds a problem on the laptop's pair: the strong model alone beside routed solutions.

python benchmarks/laptop.py --models FOLDER [--data FOLDER] [-n BATCHES] [--at-once N]
                            [--threads N] [--policy POLICY]...

Solves batches of training problems of GSM8K with `configurations/qwen-coder-laptop.yaml`. Every
policy solves a batch before the next batch begins, which spreads interference from other processes
over all policies. The models are reloaded for each policy and batch, outside the timing: prompt
caches start empty. Prints medians over the batches, and each policy's time divided by that of the
strong model on the same batch. On 2 cores, 4 problems take a policy about a minute.
"""

from __future__ import annotations

import asyncio
import os
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from below_the_step import print_table, with_range
from real import CONFIGURATION, SEED, settings_of

from trim.evaluation.benchmarks.selection import Selection
from trim.router import Router

POLICIES = ("strong", "weak", "thr:0.9", "token:0.3", "token:0.7", "tail:0.3", "thr:0.85+tail:0.5")


async def seconds_for(router: Router, questions: Sequence[str]) -> float:
    """Seconds a question, all at a time."""
    started = time.perf_counter()
    await asyncio.gather(*map(router.asolve, questions))
    return (time.perf_counter() - started) / len(questions)


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the two model files")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks")
    parser.add_argument("-n", type=int, default=5, help="batches")
    parser.add_argument("--at-once", type=int, default=4, help="problems of a batch")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each model")
    parser.add_argument("--policy", action="append", help="beside strong; repeatable")
    given = parser.parse_args()
    selection = Selection(data=given.data, split="train", skip=0)
    problems = selection.open("gsm8k", given.n * given.at_once, SEED).problems
    policies = ("strong", *given.policy) if given.policy else POLICIES
    settings = settings_of(given.models, threads=given.threads, slots=given.at_once)
    times: dict[str, list[float]] = {policy: [] for policy in policies}
    for start in range(0, len(problems), given.at_once):
        questions = [each.question for each in problems[start : start + given.at_once]]
        for policy, found in times.items():
            router = Router.from_config(CONFIGURATION, [*settings, f"routing.policy={policy}"])
            found.append(asyncio.run(seconds_for(router, questions)))
            print(f"{policy}: {found[-1]:.1f} s a problem", flush=True)
    strong = np.array(times["strong"])
    rows = []
    for policy, found in times.items():
        shares = np.array(found) / strong
        quotient = with_range(float(np.median(shares)), shares.min(), shares.max())
        rows.append((f"`{policy}`", f"{np.median(found):.1f}", quotient))
    print()
    print_table(("policy", "seconds a problem", "of `strong`"), rows)


if __name__ == "__main__":
    main()
