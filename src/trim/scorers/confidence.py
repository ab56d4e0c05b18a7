"""How sure a model was of what it wrote: scores that cost nothing and need no reward model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trim.errors import InvalidInput
from trim.models.model import Completion, Prefix
from trim.scorers.scorer import Scores


class LogProbabilityScorer:
    """Scores a step by exp(mean log-probability of its tokens), their geometric mean.

    Needs no reading and no writing, so it costs no tokens. STEER routes steps by such a
    confidence.
    """

    name = "logprob"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput where a step came without its log-probability."""
        return Scores(
            tuple(math.exp(min(told(step.log_probability, self.name), 0.0)) for step in written), 0
        )


class FirstEntropyScorer:
    """Scores a step by exp(-entropy) of its first token's distribution.

    That is 1 where the model had no choice and 1/n where n tokens were equally likely;
    it falls strictly with the entropy. GlimpRouter routes steps by this entropy.
    """

    name = "entropy"

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput where a step came without its entropy."""
        return Scores(
            tuple(math.exp(-max(told(step.first_entropy, self.name), 0.0)) for step in written), 0
        )


def told(figure: float | None, scorer: str) -> float:
    if figure is None:
        raise InvalidInput(
            f"scorer {scorer!r}: a model does not tell how sure it is of a step;"
            " choose another one, and for `entropy` load both models with entropy=True"
        )
    return figure
