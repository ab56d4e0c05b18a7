"""What a planner is asked: a process, what is observed of it, and what is paid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from trim.errors import InvalidInput
from trim.policies.pomdp.process import Floats, Process


@dataclass(frozen=True)
class RoutingProblem:
    """A finite-horizon POMDP, steps 1 to 30, undiscounted.

    Attributes:
        process: the hidden states.
        symbols: (K, 3) P(observation k | state); each column sums to 1.
        price: paid for each token of a rewritten step, in units of the reward.
        reward: R, earned by a right solution.
    """

    process: Process
    symbols: Floats
    price: float
    reward: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.price < math.inf:
            raise InvalidInput(f"cost {self.price}: the price of a token is from 0 up")
        if not 0 < self.reward < math.inf:
            raise InvalidInput(f"reward {self.reward}: a right solution is worth more than 0")


class Plan(Protocol):
    """A policy with a certificate: `lower` is what it earns at least, `upper` what none exceeds.

    Both are values before the first observation at step 1.
    """

    @property
    def problem(self) -> RoutingProblem: ...
    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...

    def gain(self, step: int, right: float, lost: float) -> float:
        """What rewriting earns more than keeping, before the price of this step's tokens.

        A lookahead over the lower bound: the policy that rewrites where this exceeds
        price * tokens earns at least `lower`, whatever the tokens of this step.

        Args:
            step: t of the draft, not the last one.
            right, lost: P(S0) and P(S1) after its observation.
        """

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        """The same for arrays of beliefs."""
