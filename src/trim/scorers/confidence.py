"""Scores from the author's own confidence in a step; they cost no tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trim.errors import InvalidInput
from trim.models.model import Completion, Prefix
from trim.scorers.scorer import Scores


class LogProbabilityScorer:
    """Scores a step by exp(mean log-probability of its tokens), their geometric mean.

    STEER routes steps by such a confidence.
    """

    name = "logprob"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput for a step without log-probability."""
        return Scores(
            tuple(
                math.exp(min(require_confidence(step.log_probability, self.name), 0.0))
                for step in written
            ),
            0,
        )


class FirstEntropyScorer:
    """Scores a step by exp(-entropy) of its first token's distribution.

    This is 1 for a certain token and 1/n for n equally likely ones; it decreases strictly with
    the entropy. GlimpRouter routes steps by this entropy.
    """

    name = "entropy"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput for a step without first entropy."""
        return Scores(
            tuple(
                math.exp(-max(require_confidence(step.first_entropy, self.name), 0.0))
                for step in written
            ),
            0,
        )


def require_confidence(figure: float | None, scorer: str) -> float:
    """A confidence of a completion; InvalidInput where the model does not report it."""
    if figure is None:
        raise InvalidInput(
            f"scorer {scorer!r}: a model does not report its confidence in a step;"
            " choose another scorer, or for `entropy` load both models with entropy=True"
        )
    return figure
