"""How well calibrated settings keep their promise, on splits of a bank.

`python benchmarks/promise.py BANK thr pomdp:FILE agg:DIR [--splits 20] [--horizon]` calibrates
each family on one half of the bank, drawn at random, and realises the chosen setting on the
other half. It prints in how many splits the realised share of strong tokens exceeds the
promised one, and how far it stays below it on average, as part of it. With `--horizon` the
promise is made for the realised share of as many problems as the other half has, and not
for the expected share. `--problems N` calibrates on N problems instead of half of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from trim.costs import Prices
from trim.rollouts.bank import read_bank
from trim.rollouts.calibration.calibrate import choose
from trim.rollouts.calibration.guarantee import StrongShare
from trim.rollouts.calibration.outcomes import Baselines, ReplayEvaluator, ReplayOutcomes
from trim.rollouts.calibration.sweep import parse_sweep

SHARES = (0.1, 0.2, 0.3)
SEED = 7


def realised(
    tried: list[ReplayOutcomes], chosen: int, baselines: Baselines, others: np.ndarray
) -> float:
    strong_tokens = tried[chosen].strong_tokens[others]
    return float(strong_tokens.sum() / baselines.strong_tokens[others].sum())


def shares(
    tried: list[ReplayOutcomes],
    baselines: Baselines,
    share: float,
    splits: int,
    problems: int,
    horizon: bool,
) -> list[float]:
    """The realised share in each split; 0 where no setting keeps the promise."""
    random = np.random.default_rng(SEED)
    found = []
    for _ in range(splits):
        order = random.permutation(len(baselines.strong_tokens))
        half = len(order) // 2
        # The bank's order is the order of its problems, and so is that of a bank half as large.
        known, others = np.sort(order[:half][:problems]), order[half:]
        promise = StrongShare(share, horizon=len(others) if horizon else None)
        settings = ((index, outcomes.select(known)) for index, outcomes in enumerate(tried))
        chosen = choose(promise, settings, baselines.select(known))
        found.append(0.0 if chosen is None else realised(tried, chosen, baselines, others))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("families", nargs="+")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--problems", type=int, default=10**9)
    parser.add_argument("--horizon", action="store_true")
    given = parser.parse_args()
    bank = read_bank(given.bank)
    evaluator = ReplayEvaluator(bank, Prices())
    baselines = evaluator.baselines
    half = len(bank.problems) // 2
    print(
        f"{min(half, given.problems)} problems to calibrate, {len(bank.problems) - half} to realise"
    )
    print("| policy | promised share | exceeded | realised on average | below the promise |")
    print("|---|---|---|---|---|")
    for spec in given.families:
        tried = []
        for _, policy in parse_sweep(spec, bank).policies():
            tried.append(evaluator.outcomes(policy))
            if tried[-1].strong_tokens.sum() > 1.5 * max(SHARES) * baselines.strong_tokens.sum():
                break
        for share in SHARES:
            found = np.array(
                shares(tried, baselines, share, given.splits, given.problems, given.horizon)
            )
            print(
                f"| `{spec.partition(':')[0]}` | {share:.0%} | {np.sum(found > share)} of"
                f" {len(found)} | {found.mean():.1%} | {np.mean(1 - found / share):.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
