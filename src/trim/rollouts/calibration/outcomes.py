"""Cost and accuracy of a policy on each problem of a bank, replayed or as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trim.costs import Prices
from trim.errors import InvalidInput
from trim.policies.policy import Policy
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Threshold
from trim.rollouts.bank import Bank
from trim.rollouts.replay import Replayed, replay
from trim.rollouts.routed import is_replayable
from trim.types import Trace

Floats = NDArray[np.float64]

MOST_EXPENSIVE = (Threshold(1), Cascade(1))
"""The most expensive policies: every draft rewritten, and every solution restarted."""


@dataclass(frozen=True)
class ReplayOutcomes:
    """Outcomes of P problems, in the order of the bank.

    Attributes:
        strong_tokens, money: (P,) cost of each problem; an upper estimate if the replay is not
            complete. `money` is 0 without prices.
        correct, complete: (P,) 1 or 0; whether the answer is right, and whether all actions of
            the replay are recorded.
    """

    strong_tokens: Floats
    money: Floats
    correct: Floats
    complete: Floats

    def select(self, problems: NDArray[np.int64]) -> ReplayOutcomes:
        """The outcomes of some problems, by index."""
        return ReplayOutcomes(*(figures[problems] for figures in vars(self).values()))


def outcomes_of_replays(
    replays: list[Replayed], scorer: str, prices: Prices | None
) -> ReplayOutcomes:
    """The outcomes of replays with scores of the kind `scorer`."""

    def money(replayed: Replayed) -> float:
        trace = Trace("", "", 0, usage=replayed.usage, scorer=scorer)
        return prices.of(trace) if prices else 0.0

    return ReplayOutcomes(
        np.array([replayed.strong_tokens for replayed in replays], dtype=np.float64),
        np.array([money(replayed) for replayed in replays]),
        np.array([replayed.correct for replayed in replays], dtype=np.float64),
        np.array([replayed.complete for replayed in replays], dtype=np.float64),
    )


@dataclass(frozen=True)
class ReplayEvaluator:
    """Evaluates policies by replay of a bank, those on tokens by their recorded solutions.

    Attributes:
        bank: recorded problems.
        prices: of tokens; None ignores money.
        max_strong_tokens: limit of strong tokens per problem, as in `trim.router.Router`.

    Raises:
        InvalidInput: the bank holds no solutions by the strong model.
    """

    bank: Bank
    prices: Prices | None
    max_strong_tokens: int | None = None

    def __post_init__(self) -> None:
        self.bank.require_strong("a replay")

    def replays(self, policy: Policy, file: str | None = None) -> list[Replayed]:
        """The policy on each problem.

        Args:
            file: sha256 of its fitted file (`trim.rollouts.routed.RoutedSolution`).

        Raises:
            InvalidInput: the policy cannot be replayed, and a problem lacks its solution.
        """
        if not is_replayable(policy):
            return self._recorded(policy, file)
        seed = self.bank.identity.seed or 0
        return [
            replay(problem, policy, seed, self.max_strong_tokens, self.bank.identity.scorer)
            for problem in self.bank.problems
        ]

    def outcomes(self, policy: Policy, file: str | None = None) -> ReplayOutcomes:
        replays = self.replays(policy, file)
        return outcomes_of_replays(replays, self.bank.identity.scorer, self.prices)

    def _recorded(self, policy: Policy, file: str | None) -> list[Replayed]:
        solutions = self.bank.solutions_of(policy.name, file, self.max_strong_tokens)
        if solutions is None:
            raise InvalidInput(
                f"{policy.name}: not recorded for every problem of the bank; repeat its"
                f" `trim collect` with --policy {policy.name}"
            )
        return [each.replayed for each in solutions]

    @cached_property
    def baselines(self) -> Baselines:
        """Both models alone, and the maximum cost of a problem."""
        problems = self.bank.problems
        most_expensive = [self.outcomes(policy) for policy in MOST_EXPENSIVE]
        strong_tokens = np.array([problem.strong.tokens for problem in problems], dtype=np.float64)
        return Baselines(
            strong_tokens,
            np.array([problem.weak.correct for problem in problems], dtype=np.float64),
            np.array([problem.strong.correct for problem in problems], dtype=np.float64),
            max(strong_tokens.max(), *(found.strong_tokens.max() for found in most_expensive)),
            max(found.money.max() for found in most_expensive),
        )


@dataclass(frozen=True)
class Baselines:
    """Outcomes of each model alone, and the maximum recorded cost of a problem.

    Attributes:
        strong_tokens: (P,) C_s, of the strong model alone.
        weak_correct, strong_correct: (P,) 1 or 0.
        largest_strong_tokens, largest_money: of one problem, under any policy.
    """

    strong_tokens: Floats
    weak_correct: Floats
    strong_correct: Floats
    largest_strong_tokens: float
    largest_money: float

    def select(self, problems: NDArray[np.int64]) -> Baselines:
        """The baselines of some problems, by index; the maxima stay those of all."""
        return Baselines(
            self.strong_tokens[problems],
            self.weak_correct[problems],
            self.strong_correct[problems],
            self.largest_strong_tokens,
            self.largest_money,
        )
