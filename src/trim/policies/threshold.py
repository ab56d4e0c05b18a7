"""TRIM-Thr: rewrite the steps whose score is low."""

from __future__ import annotations

from dataclasses import dataclass

from trim.policies.policy import Explanation, Policy, compared, named
from trim.types import Action, Observation


@dataclass(frozen=True)
class Threshold(Policy):
    """Regenerates where r_t < k (arXiv 2601.10245, TRIM-Thr).

    `threshold` 0 never regenerates, and 1 always does, even where the score is 1.
    """

    threshold: float

    @property
    def name(self) -> str:
        return named("thr", self.threshold)

    def decide(self, observation: Observation) -> Action:
        low = observation.scores[-1] < self.threshold or self.threshold == 1
        return Action.REGENERATE if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if self.threshold == 1:
            return Explanation("at a threshold of 1 every draft is rewritten")
        return Explanation(compared("score", observation.scores[-1], self.threshold))

    def is_doubtful(self, observation: Observation) -> bool:
        """Whether the newest score is nearer to the threshold than to 1, or below it."""
        return bool(observation.scores) and observation.scores[-1] < (1 + self.threshold) / 2


@dataclass(frozen=True)
class Takeover(Policy):
    """After the first score below `threshold` the strong model writes the rest."""

    threshold: float

    @property
    def name(self) -> str:
        return named("takeover", self.threshold)

    def decide(self, observation: Observation) -> Action:
        low = Threshold(self.threshold).decide(observation) is Action.REGENERATE
        return Action.TAKE_OVER if low else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        return Threshold(self.threshold).explain(observation)
