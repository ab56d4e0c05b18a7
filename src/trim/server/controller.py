"""Holds the strong share of the traffic at a target, whatever is asked."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from trim.policies.policy import Policy
from trim.types import Trace

GAIN = 3.0
"""Settings to move by after a request that missed the target by all its tokens."""
CALM = 8
"""Requests under way at which the gain is halved: what has begun does not know of a move."""
MEMORY = 200
"""Requests that the share which is reported looks back on, as a mean life."""


class Controller:
    """Moves along the settings of a family by what each answer was away from the target.

    An integral controller. The share is that of the strong model's tokens in all tokens of the
    answers, for what the strong model alone would have written is not known at work. As long as
    the place stays between the ends, the sum of all deviations is what the place has moved by, over
    the gain: so the realised share comes as near to the target as one likes, for any traffic and
    any order of it, as 1 / requests. (The argument of Gibbs and Candès, Adaptive Conformal
    Inference Under Distribution Shift, 2021, for a cost instead of an error.) The ends are the
    models alone, so a place beyond them says that the target cannot be reached.

    Args:
        policies: of rising share, as `trim.policies.sweep` has them.
        place: the policy to begin with.
        target: in [0, 1].
        seed: for choosing between two neighbours.
    """

    def __init__(
        self, policies: Sequence[Policy], place: int, target: float, seed: int = 0
    ) -> None:
        self.policies = policies
        self.target = target
        self.place = float(place)
        self.requests = 0
        self._tokens = 0.0
        self._draw = random.Random(seed)
        self._recent_strong = self._recent_tokens = 0.0

    @property
    def share(self) -> float | None:
        """Realised, over the recent requests; None before the first."""
        return self._recent_strong / self._recent_tokens if self._recent_tokens else None

    @property
    def at_end(self) -> bool:
        """Whether one of the models alone answers, and even that misses the target."""
        return self.place <= 0 or self.place >= len(self.policies) - 1

    def policy(self) -> Policy:
        """For the next request: one of the two that the place lies between, the nearer likelier.

        So the share follows the place without steps.
        """
        chosen = math.floor(self.place + self._draw.random())
        return self.policies[min(max(chosen, 0), len(self.policies) - 1)]

    def steers(self, policy: Policy) -> bool:
        return any(policy is each for each in self.policies)

    def see(self, traces: Iterable[Trace], under_way: int = 0) -> None:
        """Move by what a request has cost, finished or not.

        Args:
            under_way: other requests, begun with settings of before.
        """
        strong = tokens = 0
        for trace in traces:
            strong += trace.strong_tokens
            tokens += max(trace.strong_tokens, sum(step.tokens for step in trace.steps))
        if not tokens:
            return
        self.requests += 1
        self._tokens += tokens
        missed = (self.target * tokens - strong) / (self._tokens / self.requests)
        moved = self.place + GAIN * missed / (1 + under_way / CALM)
        # No further beyond the ends than one: a model that was away for an hour is not owed it.
        self.place = min(max(moved, -1.0), float(len(self.policies)))
        kept = 1 - 1 / MEMORY
        self._recent_strong = kept * self._recent_strong + strong
        self._recent_tokens = kept * self._recent_tokens + tokens
