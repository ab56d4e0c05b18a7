"""Guarantees of a calibrated setting, and the confidence bounds that verify them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from trim.errors import InvalidInput
from trim.rollouts.calibration.bounds import (
    betting_upper,
    clopper_pearson_upper,
    student_upper,
    thatcher_upper,
)
from trim.rollouts.calibration.outcomes import Baselines, ReplayOutcomes

BETTING = "betting (Waudby-Smith and Ramdas)"
STUDENT = "prediction (Student, approximate)"
CLOPPER_PEARSON = "exact binomial (Clopper and Pearson)"
THATCHER = "exact prediction (Thatcher)"


FURTHEST = 10**9
"""Problems of a horizon, at most; a bound on their mean is by then that on the expectation."""


def percentage(confidence: float) -> str:
    """A confidence in percent, with all of its digits: `99.5%`."""
    return f"{100 * confidence:.10g}%"


@dataclass(frozen=True)
class Guarantee(ABC):
    """A bound on a figure that holds with some confidence.

    Attributes:
        value: the bound.
        confidence: in (0, 1).
        horizon: number of future problems whose mean is bounded; None for the expectation.
    """

    value: float
    confidence: float = 0.9
    horizon: int | None = None

    most_expensive_first = False
    """Whether settings are tested from the most expensive down, not from the cheapest up."""

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InvalidInput(
                f"--confidence {self.confidence:g}: must lie between 0 and 1, as in 0.9"
            )
        if self.horizon is not None and not 1 <= self.horizon <= FURTHEST:
            raise InvalidInput(
                f"--horizon {self.horizon}: must be a number of problems from 1 to {FURTHEST}"
            )

    @property
    @abstractmethod
    def target(self) -> str:
        """Name of the figure, as the option on the command line without dashes."""

    @property
    @abstractmethod
    def bound_name(self) -> str:
        """The statistical method of the bound."""

    @abstractmethod
    def holds(self, outcomes: ReplayOutcomes, baselines: Baselines) -> bool:
        """Whether `value` can be guaranteed from these outcomes."""

    def preference(self, outcomes: ReplayOutcomes) -> tuple[float, ...]:
        """The order in which to prefer settings that satisfy the guarantee, the least first.

        By accuracy; of equal ones by cost, in money where it is known.
        """
        return (-float(outcomes.correct.mean()), *mean_costs(outcomes))

    @abstractmethod
    def bound(self, outcomes: ReplayOutcomes, baselines: Baselines) -> float:
        """The best value that can be guaranteed from these outcomes."""


@dataclass(frozen=True)
class StrongShare(Guarantee):
    """E[C] <= value * E[C_s], that is, E[C - value * C_s] <= 0."""

    target = "strong-share"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.value < 1:
            raise InvalidInput(
                f"--strong-share {self.value:g}: must lie between 0 and 1, as in 0.2"
            )

    @property
    def bound_name(self) -> str:
        return STUDENT if self.horizon else BETTING

    def holds(self, outcomes: ReplayOutcomes, baselines: Baselines) -> bool:
        return self._excess(self.value, outcomes, baselines) <= 0

    def bound(self, outcomes: ReplayOutcomes, baselines: Baselines) -> float:
        low, high = 0.0, baselines.largest_strong_tokens / float(np.mean(baselines.strong_tokens))
        while high - low > 1e-4:
            middle = (low + high) / 2
            if self._excess(middle, outcomes, baselines) <= 0:
                high = middle
            else:
                low = middle
        return high

    def _excess(self, share: float, outcomes: ReplayOutcomes, baselines: Baselines) -> float:
        differences = outcomes.strong_tokens - share * baselines.strong_tokens
        if self.horizon:
            return student_upper(differences, self.confidence, self.horizon)
        return betting_upper(
            differences,
            -share * baselines.largest_strong_tokens,
            max(baselines.largest_strong_tokens, outcomes.strong_tokens.max()),
            self.confidence,
        )


@dataclass(frozen=True)
class Money(Guarantee):
    """The mean money per problem is at most `value`."""

    target = "money"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.value < math.inf:
            raise InvalidInput(f"--money {self.value:g}: must be an amount above 0")

    @property
    def bound_name(self) -> str:
        return STUDENT if self.horizon else BETTING

    def holds(self, outcomes: ReplayOutcomes, baselines: Baselines) -> bool:
        return self.bound(outcomes, baselines) <= self.value

    def bound(self, outcomes: ReplayOutcomes, baselines: Baselines) -> float:
        if self.horizon:
            return student_upper(outcomes.money, self.confidence, self.horizon)
        most = max(baselines.largest_money, outcomes.money.max())
        return betting_upper(outcomes.money, 0, most, self.confidence) if most else 0.0


@dataclass(frozen=True)
class Accuracy(Guarantee):
    """The accuracy is at least `value`."""

    target = "accuracy"
    most_expensive_first = True

    def preference(self, outcomes: ReplayOutcomes) -> tuple[float, ...]:
        """As for other guarantees, but by cost alone."""
        return mean_costs(outcomes)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.value < 1:
            raise InvalidInput(f"--accuracy {self.value:g}: must lie between 0 and 1, as in 0.9")

    @property
    def bound_name(self) -> str:
        return THATCHER if self.horizon else CLOPPER_PEARSON

    def holds(self, outcomes: ReplayOutcomes, baselines: Baselines) -> bool:
        return self.bound(outcomes, baselines) >= self.value

    def bound(self, outcomes: ReplayOutcomes, baselines: Baselines) -> float:
        count = len(outcomes.correct)
        wrong = count - int(outcomes.correct.sum())
        if self.horizon:
            return 1 - thatcher_upper(wrong, count, self.horizon, self.confidence)
        return 1 - clopper_pearson_upper(wrong, count, self.confidence)


def mean_costs(outcomes: ReplayOutcomes) -> tuple[float, float]:
    """Money (0 without prices) and strong tokens, the mean over problems."""
    return float(outcomes.money.mean()), float(outcomes.strong_tokens.mean())
