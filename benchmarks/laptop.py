"""Seconds a problem on the laptop's pair, alone and routed, by threads and problems at a time.

python benchmarks/laptop.py --models FOLDER --data FOLDER [-n PROBLEMS]

Solves the same training problems of GSM8K with `configurations/qwen-coder-laptop.yaml` for each
combination of policy, threads and problems at a time. Each run loads the models again, so no policy
profits from what another one has read. Four problems take a quarter of an hour on 2 cores.
"""

from __future__ import annotations

import asyncio
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from below_the_step import print_table
from real import CONFIGURATION, SEED, settings_of

from trim.evaluation.benchmarks.selection import Selection
from trim.router import Router

THREADS, AT_ONCE = (1, 2), (1, 4)
POLICIES = ("strong", "token:0.3", "thr:0.85+tail:0.5")


async def seconds_for(router: Router, questions: Sequence[str], at_once: int) -> float:
    """Seconds a question."""
    places = asyncio.Semaphore(at_once)

    async def solve(question: str) -> None:
        async with places:
            await router.asolve(question)

    started = time.perf_counter()
    await asyncio.gather(*map(solve, questions))
    return (time.perf_counter() - started) / len(questions)


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, required=True, help="folder of the two model files")
    parser.add_argument("--data", type=Path, help="folder of the benchmarks")
    parser.add_argument("-n", type=int, default=4, help="problems")
    given = parser.parse_args()
    selection = Selection(data=given.data, split="train", skip=0)
    questions = [each.question for each in selection.open("gsm8k", given.n, SEED).problems]
    rows = []
    for threads in THREADS:
        for at_once in AT_ONCE:
            settings = settings_of(given.models, threads=threads, slots=at_once)
            times = []
            for policy in POLICIES:
                chosen = [*settings, f"routing.policy={policy}"]
                router = Router.from_config(CONFIGURATION, chosen)
                times.append(asyncio.run(seconds_for(router, questions, at_once)))
            rows.append((str(threads), str(at_once), *(f"{each:.1f}" for each in times)))
            print(*rows[-1], flush=True)
    print_table(("threads", "at a time", *(f"`{policy}`" for policy in POLICIES)), rows)


if __name__ == "__main__":
    main()
