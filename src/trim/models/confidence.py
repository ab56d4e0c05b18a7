"""How sure a model was of a step, from its record of each token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trim.models.model import Ending

LIKELIEST = 20
"""Tokens whose probabilities are asked for, where a model tells its first entropy."""


@dataclass(frozen=True)
class Confidence:
    """How sure a model was of a step: the two figures of a `Completion`, in nats.

    Both are of the model's own distribution, at temperature 1 and before top-p and top-k.
    """

    log_probability: float
    first_entropy: float


def confidence_in(tokens: Sequence[Mapping[str, Any]], ending: Ending) -> Confidence:
    """The figures from the engine's record of each token.

    Counted are the tokens of the step's text: not the separator, which llama.cpp does not
    list, and not the end token, so that a step's figure is that of its text however it
    ended. A step without any text is certain: 0 and, without a first token, 0.

    Args:
        tokens: entries with `logprob` and `top_logprobs`; the end token's is the last.
    """
    first_entropy = entropy(tokens[0]["top_logprobs"]) if tokens else 0.0
    own = tokens[:-1] if ending is Ending.SOLUTION else tokens
    mean = math.fsum(token["logprob"] for token in own) / len(own) if own else 0.0
    return Confidence(mean, first_entropy)


def entropy(likeliest: Sequence[Mapping[str, Any]]) -> float:
    """Entropy in nats, at least 0, where all tokens beyond `likeliest` count as one outcome.

    That is at most the entropy of the whole distribution, and as good as equal to it where
    a model is not at a loss.
    """
    chances = [math.exp(entry["logprob"]) for entry in likeliest]
    chances.append(max(1.0 - math.fsum(chances), 0.0))
    return max(math.fsum(-chance * math.log(chance) for chance in chances if chance > 0), 0.0)
