"""Holds the strong share of the traffic at a target."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from trim.policies.policy import Policy
from trim.types import Trace

GAIN = 3.0
"""Settings to move after a request that missed the target by all its tokens."""
CALM = 8
"""Concurrent requests at which the gain is halved, since they began with earlier settings."""
MEMORY = 200
"""Mean lifetime, in requests, of the moving average of the realised share."""


class Controller:
    """An integral controller over the settings of a family of policies.

    The share is that of strong tokens among all tokens of the answers, because the tokens that the
    strong model alone would have needed are unknown in operation. While the position stays between
    the ends, the sum of all deviations equals its movement divided by the gain, so the realised
    share converges to the target as 1 / requests, for any traffic in any order. (The argument of
    Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift, 2021, for a cost in
    place of an error.) The ends are the models alone, so a position beyond them means that the
    target cannot be reached.

    Args:
        policies: by rising share, as `trim.policies.sweep` orders them.
        place: index of the first policy.
        target: in [0, 1].
        seed: for the choice between two neighbours.
    """

    def __init__(
        self, policies: Sequence[Policy], place: int, target: float, seed: int = 0
    ) -> None:
        self.policies = policies
        self.target = target
        self.place = float(place)
        self.requests = 0
        self._tokens = 0.0
        self._random = random.Random(seed)
        self._recent_strong = self._recent_tokens = 0.0

    @property
    def share(self) -> float | None:
        """The realised share of recent requests; None before the first."""
        return self._recent_strong / self._recent_tokens if self._recent_tokens else None

    @property
    def at_end(self) -> bool:
        """Whether one of the models answers alone."""
        return self.place <= 0 or self.place >= len(self.policies) - 1

    def policy(self) -> Policy:
        """The policy of the next request: one of the two neighbours of the position, drawn by
        distance, so that the share changes without steps."""
        chosen = math.floor(self.place + self._random.random())
        return self.policies[min(max(chosen, 0), len(self.policies) - 1)]

    def controls(self, policy: Policy) -> bool:
        return any(policy is each for each in self.policies)

    def update(self, traces: Iterable[Trace], concurrent: int = 0) -> None:
        """Move by the cost of a request, finished or not.

        Args:
            concurrent: other requests in progress, which began with earlier settings.
        """
        strong = tokens = 0
        for trace in traces:
            strong += trace.strong_tokens
            tokens += max(trace.strong_tokens, sum(step.tokens for step in trace.steps))
        if not tokens:
            return
        self.requests += 1
        self._tokens += tokens
        deviation = (self.target * tokens - strong) / (self._tokens / self.requests)
        moved = self.place + GAIN * deviation / (1 + concurrent / CALM)
        # Anti-windup: clamp the integrator one setting beyond the ends.
        self.place = min(max(moved, -1.0), float(len(self.policies)))
        kept = 1 - 1 / MEMORY
        self._recent_strong = kept * self._recent_strong + strong
        self._recent_tokens = kept * self._recent_tokens + tokens
