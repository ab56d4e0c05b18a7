"""What a calibrated setting promises, and whether outcomes bear it out."""

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
from trim.rollouts.calibration.outcomes import ReplayedSolution, ReplayOutcomes

BETTING = "betting (Waudby-Smith and Ramdas)"
STUDENT = "prediction (Student, approximate)"
CLOPPER_PEARSON = "exact binomial (Clopper and Pearson)"
THATCHER = "exact prediction (Thatcher)"


@dataclass(frozen=True)
class Guarantee(ABC):
    """A figure that is kept with some confidence.

    Attributes:
        value: of the figure.
        confidence: in (0, 1).
        horizon: None for the expectation; else for the mean of the next so many problems.
    """

    value: float
    confidence: float = 0.9
    horizon: int | None = None

    from_dearest = False
    """Whether settings are tried from the dearest down, and else from the cheapest up."""

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise InvalidInput(
                f"--confidence {self.confidence:g}: must lie between 0 and 1, as in 0.9"
            )
        if self.horizon is not None and self.horizon < 1:
            raise InvalidInput(f"--horizon {self.horizon}: must be a number of problems from 1 up")

    @property
    @abstractmethod
    def target(self) -> str:
        """As on the command line, without dashes."""

    @property
    @abstractmethod
    def bound_name(self) -> str: ...

    @abstractmethod
    def is_kept(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> bool:
        """Whether the outcomes let one promise `value`."""

    @abstractmethod
    def bound(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> float:
        """The best value that could be promised."""


@dataclass(frozen=True)
class StrongShare(Guarantee):
    """E[C] <= value E[C_s]: of the differences D = C - value C_s the mean is 0 at most."""

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

    def is_kept(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> bool:
        return self._excess(self.value, outcomes, alone) <= 0

    def bound(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> float:
        below, above = 0.0, alone.most_strong_tokens / float(np.mean(alone.strong_tokens))
        while above - below > 1e-4:
            middle = (below + above) / 2
            if self._excess(middle, outcomes, alone) <= 0:
                above = middle
            else:
                below = middle
        return above

    def _excess(self, share: float, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> float:
        differences = outcomes.strong_tokens - share * alone.strong_tokens
        if self.horizon:
            return student_upper(differences, self.confidence, self.horizon)
        return betting_upper(
            differences,
            -share * alone.most_strong_tokens,
            max(alone.most_strong_tokens, outcomes.strong_tokens.max()),
            self.confidence,
        )


@dataclass(frozen=True)
class Money(Guarantee):
    """The mean money a problem is `value` at most."""

    target = "money"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.value < math.inf:
            raise InvalidInput(f"--money {self.value:g}: must be an amount above 0")

    @property
    def bound_name(self) -> str:
        return STUDENT if self.horizon else BETTING

    def is_kept(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> bool:
        return self.bound(outcomes, alone) <= self.value

    def bound(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> float:
        if self.horizon:
            return student_upper(outcomes.money, self.confidence, self.horizon)
        most = max(alone.most_money, outcomes.money.max())
        return betting_upper(outcomes.money, 0, most, self.confidence) if most else 0.0


@dataclass(frozen=True)
class Accuracy(Guarantee):
    """The accuracy is `value` at least."""

    target = "accuracy"
    from_dearest = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.value < 1:
            raise InvalidInput(f"--accuracy {self.value:g}: must lie between 0 and 1, as in 0.9")

    @property
    def bound_name(self) -> str:
        return THATCHER if self.horizon else CLOPPER_PEARSON

    def is_kept(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> bool:
        return self.bound(outcomes, alone) >= self.value

    def bound(self, outcomes: ReplayOutcomes, alone: ReplayedSolution) -> float:
        count = len(outcomes.correct)
        wrong = count - int(outcomes.correct.sum())
        if self.horizon:
            return 1 - thatcher_upper(wrong, count, self.horizon, self.confidence)
        return 1 - clopper_pearson_upper(wrong, count, self.confidence)
