"""Scores as log-odds: what lies close to 0 or 1 is told apart as well as what lies between."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-4
"""Scores closer to 0 or 1 count as this far away."""


def log_odds(score: float) -> float:
    """log(r / (1 - r)) of a score in [0, 1]."""
    bounded = min(max(score, LEAST), 1 - LEAST)
    return math.log(bounded / (1 - bounded))


def log_odds_of_all(scores: NDArray[Any]) -> NDArray[Any]:
    """`log_odds` of each score."""
    bounded = np.minimum(np.maximum(scores, LEAST), 1 - LEAST)
    return np.asarray(np.log(bounded / (1 - bounded)))
