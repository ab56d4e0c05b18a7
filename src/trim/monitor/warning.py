"""What a watch has to say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Which of the method's failures it is."""

    SCORE_DRIFT = "score-drift"
    """The scorer meets something else than in the calibration."""
    AFTER_INTERVENTION = "after-intervention"
    """The weak model does not go on well from what the strong model has written."""
    BUDGET_TOO_SMALL = "budget-too-small"
    """Too little may be rewritten to help."""


@dataclass(frozen=True)
class Warning:
    """A failure that a test has found.

    Attributes:
        text: one sentence: the figures, and what to do.
        statistic: what was tested: a difference of shares or means, or a share.
        p_value: how likely so large a statistic is where nothing is wrong, in [0, 1]; None
            where nothing was tested.
    """

    kind: Kind
    text: str
    statistic: float
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
