"""The hazard of ending: how likely a solution that has come to step t ends there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trim.errors import InvalidInput
from trim.pomdp.process import STEPS, Floats

SHORTEST = 2
BANDWIDTH = 0.1
"""Kernel width in standard deviations of the lengths."""
NARROWEST = 0.1
"""Kernel width, in steps, below which nothing changes at whole steps."""


def hazard_of(lengths: Sequence[int]) -> Floats:
    """(31,) h(0)..h(30) from the steps of solutions, clipped to 2..30.

    A Gaussian kernel density with bandwidth factor 0.1, read at whole steps
    (arXiv 2601.10245): h(t) = p(t) / sum of p(t)..p(30).

    Raises:
        InvalidInput: no length at all.
    """
    if not lengths:
        raise InvalidInput("the hazard of ending needs the length of at least one solution")
    clipped = np.clip(np.asarray(lengths, dtype=np.float64), SHORTEST, STEPS)
    width = max(BANDWIDTH * float(clipped.std()), NARROWEST)
    steps = np.arange(SHORTEST, STEPS + 1)
    values, counts = np.unique(clipped, return_counts=True)
    density = np.exp(-0.5 * ((steps[:, None] - values) / width) ** 2) @ counts
    remaining = np.cumsum(density[::-1])[::-1]
    hazard = np.zeros(STEPS + 1)
    # Beyond the longest solution all that is left rounds to nothing: there it ends.
    hazard[SHORTEST:] = np.divide(
        density, remaining, out=np.ones_like(density), where=remaining > 1e-9 * remaining[0]
    )
    hazard[STEPS] = 1
    return hazard


def read_hazard(path: Path) -> Floats:
    """h(0)..h(30) from a JSON list.

    Raises:
        InvalidInput: unreadable, or not such a list.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        hazard = np.array(values, dtype=np.float64)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: not a JSON list of numbers h(0)..h({STEPS})") from error
    if hazard.shape != (STEPS + 1,):
        raise InvalidInput(f"{path}: not a JSON list of {STEPS + 1} numbers h(0)..h({STEPS})")
    return hazard
