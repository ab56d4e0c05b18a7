"""Time per decision of a policy: `python benchmarks/decisions.py agg:DIR seq:DIR@0.004 thr:0.5`.

Prints the median and the 99th percentile in microseconds, for traces of 1, 10 and 30 steps.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from trim.policies.registry import parse_policies
from trim.types import Action, Observation

DECISIONS = 20_000
ACTIONS = (Action.CONTINUE, Action.REGENERATE)


def main(words: list[str]) -> None:
    drawn = random.Random(0)
    for word in words:
        policy = parse_policies(word)[0]
        for steps in (1, 10, 30):
            scores = tuple(drawn.random() for _ in range(steps))
            tokens = tuple(drawn.randint(5, 200) for _ in range(steps))
            actions = tuple(drawn.choices(ACTIONS, k=steps - 1))
            observation = Observation("", ("",) * steps, scores, tokens, actions, 0)
            taken = []
            for _ in range(DECISIONS):
                start = time.perf_counter_ns()
                policy.decide(observation)
                taken.append(time.perf_counter_ns() - start)
            median, late = np.quantile(taken, [0.5, 0.99]) / 1000
            print(f"{policy.name:16} {steps:2} steps: median {median:5.1f}, p99 {late:5.1f} us")


if __name__ == "__main__":
    main(sys.argv[1:])
