"""Why a policy decided as it did, in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class States(NamedTuple):
    """Probabilities of the hidden states of a solution whose newest step is a draft.

    Attributes:
        right: every step is right.
        repairable: only the draft is wrong, so that rewriting it mends the solution.
        lost: an earlier step is wrong.
    """

    right: float
    repairable: float
    lost: float


@dataclass(frozen=True)
class Explanation:
    """What a policy says of a decision.

    Attributes:
        reason: a clause without a full stop, as `score 0.31 is below 0.5`.
        states: what the policy believes; None where it has no belief.
    """

    reason: str
    states: States | None = None


def compared(what: str, value: float, limit: float) -> str:
    """`score 0.31 is below 0.5`, with as many digits as show on which side it lies."""
    below = value < limit
    roundings = (f"{value:.{digits}f}" for digits in range(2, 17))
    shown = next((text for text in roundings if (float(text) < limit) == below), repr(value))
    return f"{what} {shown} {'is below' if below else 'is not below'} {limit:.12g}"
