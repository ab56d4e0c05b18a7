"""What a policy costs and reaches on each problem of a bank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trim.costs import Prices
from trim.policies.policy import Policy
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Threshold
from trim.rollouts.bank import Bank
from trim.rollouts.replay import Replayed, replay
from trim.types import Trace

Floats = NDArray[np.float64]

HIGHEST_PRICE = (Threshold(1), Cascade(1))
"""Policies that no other exceeds: every draft rewritten, and every solution."""


@dataclass(frozen=True)
class ReplayOutcomes:
    """Of P problems, in the order of the bank.

    Attributes:
        strong_tokens, money: (P,) of each problem, upper estimates where `complete` is not.
            Without prices `money` is all 0.
        correct, complete: (P,) 1 or 0.
    """

    strong_tokens: Floats
    money: Floats
    correct: Floats
    complete: Floats

    def of(self, problems: NDArray[np.int64]) -> ReplayOutcomes:
        """The outcomes of some problems."""
        return ReplayOutcomes(*(figures[problems] for figures in vars(self).values()))


def outcomes_of(walks: list[Replayed], scorer: str, prices: Prices | None) -> ReplayOutcomes:
    """The outcomes of replays whose steps have scores of the kind `scorer`."""

    def money(walk: Replayed) -> float:
        trace = Trace("", "", 0, usage=walk.usage, scorer=scorer)
        return prices.of(trace) if prices else 0.0

    return ReplayOutcomes(
        np.array([walk.strong_tokens for walk in walks], dtype=np.float64),
        np.array([money(walk) for walk in walks]),
        np.array([walk.correct for walk in walks], dtype=np.float64),
        np.array([walk.complete for walk in walks], dtype=np.float64),
    )


@dataclass(frozen=True)
class ReplayEvaluator:
    """A bank in which policies are tried.

    Attributes:
        prices: what is billed; None where nothing is.
        max_strong_tokens: the limit a problem, as `trim.router.Router` has it.
    """

    bank: Bank
    prices: Prices | None
    max_strong_tokens: int | None = None

    def walks(self, policy: Policy) -> list[Replayed]:
        seed = self.bank.identity.seed or 0
        return [
            replay(problem, policy, seed, self.max_strong_tokens) for problem in self.bank.problems
        ]

    def outcomes(self, policy: Policy) -> ReplayOutcomes:
        return outcomes_of(self.walks(policy), self.bank.identity.scorer, self.prices)

    @cached_property
    def alone(self) -> ReplayedSolution:
        """What everything is compared with."""
        problems = self.bank.problems
        dearest = [self.outcomes(policy) for policy in HIGHEST_PRICE]
        strong_tokens = np.array([problem.strong.tokens for problem in problems], dtype=np.float64)
        return ReplayedSolution(
            strong_tokens,
            np.array([problem.weak.correct for problem in problems], dtype=np.float64),
            np.array([problem.strong.correct for problem in problems], dtype=np.float64),
            max(strong_tokens.max(), *(found.strong_tokens.max() for found in dearest)),
            max(found.money.max() for found in dearest),
        )


@dataclass(frozen=True)
class ReplayedSolution:
    """Each model alone, and the most that a problem was recorded to take.

    Attributes:
        strong_tokens: (P,) C_s.
        weak_correct, strong_correct: (P,) 1 or 0.
        most_strong_tokens, most_money: of a problem, by any way of solving it.
    """

    strong_tokens: Floats
    weak_correct: Floats
    strong_correct: Floats
    most_strong_tokens: float
    most_money: float

    def of(self, problems: NDArray[np.int64]) -> ReplayedSolution:
        """The same of some problems; the most stays that of all."""
        return ReplayedSolution(
            self.strong_tokens[problems],
            self.weak_correct[problems],
            self.strong_correct[problems],
            self.most_strong_tokens,
            self.most_money,
        )
