"""Fitted routers that make a policy of every price lambda in a range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trim.policies.policy import Policy

P = TypeVar("P", bound=Policy)


@dataclass(frozen=True)
class Priced(Generic[P]):
    """What a fitted file holds, read once.

    Attributes:
        lowest, highest: the range, in right answers a strong token.
        prices: the usual sweep, falling, each within the range.
        at: the policy at a price; InvalidInput where learned ones were not trained for it.
    """

    lowest: float
    highest: float
    prices: tuple[float, ...]
    at: Callable[[float], P]

    def policies(self, prices: Sequence[float] = ()) -> list[P]:
        """A policy for each price, by default for the usual sweep."""
        return [self.at(price) for price in prices or self.prices]
