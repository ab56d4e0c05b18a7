"""Whether the scorer's newest scores are distributed as the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

RECENT, EARLIER = 500, 2000
"""First drafts that are compared, at most."""
LEAST = 40
"""With fewer of both together nothing is said."""
BINS = 20
LEAST_DISTANCE, LEVEL = 0.1, 0.001
"""Warned of from this distance on, where so large a one is less likely than this by chance."""


@dataclass(frozen=True)
class ScoreDrift:
    """Newest first drafts against those before them.

    Attributes:
        distance: of Kolmogorov and Smirnov, in [0, 1]; None where there are too few.
        p_value: of so large a distance or a larger one, if nothing has changed.
    """

    recent: tuple[float, ...]
    earlier: tuple[float, ...]
    distance: float | None = None
    p_value: float | None = None

    @property
    def drifted(self) -> bool:
        return (
            self.distance is not None
            and self.p_value is not None
            and self.distance >= LEAST_DISTANCE
            and self.p_value < LEVEL
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "recent": histogram(self.recent),
            "earlier": histogram(self.earlier),
            "distance": self.distance,
            "p_value": self.p_value,
            "drifted": self.drifted,
        }


def score_drift(scores: Sequence[float]) -> ScoreDrift:
    """Compares scores, the newest first: up to 500, at most half, with up to 2,000 before."""
    # Slow to load, and of no use to a server that nobody looks at.
    from scipy.stats import ks_2samp

    border = min(RECENT, len(scores) // 2)
    recent, earlier = tuple(scores[:border]), tuple(scores[border:])
    if len(scores) < LEAST:
        return ScoreDrift(recent, earlier)
    found = ks_2samp(recent, earlier, method="asymp")
    return ScoreDrift(recent, earlier, float(found.statistic), float(found.pvalue))


def histogram(scores: Sequence[float]) -> list[int]:
    """How many lie in each twentieth of [0, 1]."""
    counts = [0] * BINS
    for score in scores:
        counts[min(int(score * BINS), BINS - 1)] += 1
    return counts
