"""TRIM-Seq: a small causal transformer over all scores and lengths (arXiv 2601.10245)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trim.numerics import logit_array, sigmoid
from trim.policies.agg.policy import STEPS_SCALE, TOKENS_SCALE
from trim.policies.policy import Explanation, FittedPolicy, Priced, compared
from trim.policies.ppo.weights import LearnedRouter, Weights, read_router
from trim.types import Action, Observation

FEATURES = ("score", "tokens", "step")
"""r_i, c_i / 300 and i / 30 of each step i = 1..t."""

HEADS = 2
"""Of the attention; they share the width evenly."""

SHAPES: dict[str, tuple[str | int, ...]] = {
    "embedding.weight": ("width", "inputs"),
    "embedding.bias": ("width",),
    "query.weight": ("width", "width"),
    "key.weight": ("width", "width"),
    "value.weight": ("width", "width"),
    "mix.weight": ("width", "width"),
    "hidden.weight": ("hidden", "width"),
    "hidden.bias": ("hidden",),
    "back.weight": ("width", "hidden"),
    "back.bias": ("width",),
    "output.weight": ("width",),
    "output.bias": (1,),
}
"""embedding reads the features of a step, then the price's position."""


@dataclass(frozen=True)
class Sequential(FittedPolicy):
    """Regenerates where the network's output is positive. Made by `read_seq`.

    One layer, of which only the newest step is read: a query by that step to all of them,
    so a decision costs a few products with small matrices.

    Attributes:
        price: lambda, in right answers a strong token; the embedding's bias holds it already.
        odds: whether it reads scores as log-odds.
        tensors: the network, stored as (inputs, outputs).
        scorer: the kind of score that it was trained on.
    """

    price: float
    odds: bool
    tensors: dict[str, Weights]
    scorer: str

    @property
    def name(self) -> str:
        return self.named("seq", self.price)

    def decide(self, observation: Observation) -> Action:
        output = self.output(observation.scores, observation.tokens)
        return Action.REGENERATE if output > 0 else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        output = self.output(observation.scores, observation.tokens)
        rewriting = sigmoid(output)
        return Explanation(compared("the network's probability of rewriting,", rewriting, 0.5))

    def output(self, scores: Sequence[float], tokens: Sequence[int]) -> float:
        """Log-odds of regenerating step t, for r_1..r_t and c_1..c_t."""
        weights = self.tensors
        steps = np.empty((len(scores), len(FEATURES)), dtype=np.float32)
        steps[:, 0] = logit_array(np.array(scores)) if self.odds else scores
        steps[:, 1] = tokens
        steps[:, 2] = range(1, len(scores) + 1)
        embedded = np.tanh(steps @ weights["embedding.weight"] + weights["embedding.bias"])
        newest = embedded[-1]
        width = len(newest)
        asked = (newest @ weights["query.weight"]).reshape(HEADS, width // HEADS, 1)
        told = (embedded @ weights["key.weight"]).reshape(-1, HEADS, width // HEADS)
        match = (told.transpose(1, 0, 2) @ asked)[:, :, 0]
        heard = np.exp(match - match.max())
        heard /= heard.sum(axis=1, keepdims=True)
        values = (embedded @ weights["value.weight"]).reshape(-1, HEADS, width // HEADS)
        mixed = (heard[:, None] @ values.transpose(1, 0, 2)).reshape(width)
        state = newest + mixed @ weights["mix.weight"]
        hidden = np.tanh(state @ weights["hidden.weight"] + weights["hidden.bias"])
        state = state + hidden @ weights["back.weight"] + weights["back.bias"]
        return float(state @ weights["output.weight"]) + float(weights["output.bias"][0])


def read_seq(folder: Path) -> Priced[Sequential]:
    """The policies of a folder that `trim train` has written. Raises as `read_router`."""
    router = read_router(folder, "seq", (FEATURES,), SHAPES)
    return Priced(
        router.range.lowest,
        router.range.highest,
        router.prices,
        lambda price: sequential(router, price),
    )


def sequential(router: LearnedRouter, price: float) -> Sequential:
    """Raises InvalidInput where the price is outside the range of the training."""
    return Sequential(
        price,
        router.odds,
        prepared(router.tensors, router.range.place(price)),
        router.scorer,
        models=router.models,
    )


def prepared(tensors: Mapping[str, Weights], place: float) -> dict[str, Weights]:
    """The network as `Sequential` uses it: for one price, and with all scales in its weights."""
    ready = {
        name: np.ascontiguousarray(tensor.T) if tensor.ndim == 2 else tensor
        for name, tensor in tensors.items()
    }
    embedding = tensors["embedding.weight"]
    scales = np.array([1, TOKENS_SCALE, STEPS_SCALE], dtype=np.float32)
    ready["embedding.weight"] = np.ascontiguousarray((embedding[:, :-1] / scales).T)
    ready["embedding.bias"] = tensors["embedding.bias"] + embedding[:, -1] * np.float32(place)
    width = len(embedding)
    ready["query.weight"] = ready["query.weight"] / np.float32(math.sqrt(width // HEADS))
    return ready
