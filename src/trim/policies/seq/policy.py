"""TRIM-Seq: a small transformer over all scores and lengths (arXiv 2601.10245).

Its shape is trim's own: one layer, evaluated at the newest step, which also reads the number of
each step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.numerics import logit_array, sigmoid
from trim.policies.agg.policy import STEPS_SCALE, TOKENS_SCALE
from trim.policies.policy import Explanation, FittedPolicy, PricedPolicies, describe_comparison
from trim.policies.ppo.weights import LearnedRouter, Weights, read_router
from trim.types import Action, Observation

FEATURES = ("score", "tokens", "step")
"""r_i, c_i / 300 and i / 30 of each step i = 1..t."""

HEADS = 2
"""Attention heads, of equal width."""

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
"""Tensors in the file. The embedding reads the features of a step and the price's position."""


def transformer_layer(
    xp: Any, weights: Mapping[str, Any], inputs: Any, newest: Any, visible: Any = None
) -> Any:
    """Log-odds of regenerating: one transformer layer, evaluated at the newest step only.

    The one definition of the network: the policy calls it with numpy for a single trace,
    training with torch for a batch. The query comes from the newest step alone, so a decision
    costs a few products with small matrices.

    Args:
        xp: numpy or torch.
        weights: tensors named as in `SHAPES`, stored as (inputs, outputs); the query's
            divided by the square root of a head's width.
        inputs: (..., T, inputs), features of each step.
        newest: index of the newest step in (..., T).
        visible: (..., T, 1) whether a step is not padding; None if all are steps.

    Returns:
        Shape (...,).
    """

    def heads(projected: Any) -> Any:
        return projected.reshape(*projected.shape[:-1], HEADS, projected.shape[-1] // HEADS)

    embedded = xp.tanh(inputs @ weights["embedding.weight"] + weights["embedding.bias"])
    state = embedded[newest]
    query = heads(state @ weights["query.weight"])[..., None, :, :]
    keys = heads(embedded @ weights["key.weight"])
    logits = (keys * query).sum(-1)  # (..., T, heads)
    if visible is not None:
        logits = xp.where(visible, logits, -math.inf)
    attention = xp.exp(logits - xp.amax(logits, -2)[..., None, :])
    attention = attention / attention.sum(-2)[..., None, :]
    values = heads(embedded @ weights["value.weight"])
    mixed = (attention[..., None] * values).sum(-3).reshape(state.shape)
    state = state + mixed @ weights["mix.weight"]
    hidden = xp.tanh(state @ weights["hidden.weight"] + weights["hidden.bias"])
    state = state + hidden @ weights["back.weight"] + weights["back.bias"]
    return state @ weights["output.weight"] + weights["output.bias"][0]


@dataclass(frozen=True)
class SeqPolicy(FittedPolicy):
    """Regenerates if the output of the network is positive. Read by `read_seq`.

    Attributes:
        price: lambda, in right answers per strong token; already in the embedding's bias.
        log_odds: whether scores are given as log-odds.
        tensors: the network, as `transformer_layer` reads it.
        scorer: the kind of score that it was trained on.
    """

    price: float
    log_odds: bool
    tensors: dict[str, NDArray[np.floating]]
    scorer: str

    @property
    def name(self) -> str:
        return self.labelled_name("seq", self.price)

    def decide(self, observation: Observation) -> Action:
        output = self.output(observation.scores, observation.tokens)
        return Action.REGENERATE if output > 0 else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        probability = sigmoid(self.output(observation.scores, observation.tokens))
        return Explanation(describe_comparison("probability of rewriting", probability, 0.5))

    def output(self, scores: Sequence[float], tokens: Sequence[int]) -> float:
        """Log-odds of regenerating step t, for r_1..r_t and c_1..c_t."""
        steps = np.empty((len(scores), len(FEATURES)), dtype=np.float32)
        steps[:, 0] = logit_array(np.array(scores)) if self.log_odds else scores
        steps[:, 1] = tokens
        steps[:, 2] = range(1, len(scores) + 1)
        return float(transformer_layer(np, self.tensors, steps, newest=-1))


def read_seq(folder: Path) -> PricedPolicies[SeqPolicy]:
    """The policies of a folder of `trim train`. Raises as `read_router`."""
    router = read_router(folder, "seq", (FEATURES,), SHAPES)
    return PricedPolicies(
        router.range.lowest,
        router.range.highest,
        router.prices,
        lambda price: seq_policy(router, price),
        router.separate,
    )


def seq_policy(router: LearnedRouter, price: float) -> SeqPolicy:
    """Raises InvalidInput for a price that the router was not trained for."""
    return SeqPolicy(
        price,
        router.log_odds,
        tensors_at_price(*router.network_at(price)),
        router.scorer,
        models=router.models,
    )


def tensors_at_price(
    tensors: Mapping[str, Weights], position: float
) -> dict[str, NDArray[np.floating]]:
    """The tensors for `transformer_layer`, with the price and all scales folded in.

    Args:
        position: of the price, in [-1, 1].
    """
    ready: dict[str, NDArray[np.floating]] = {
        name: np.ascontiguousarray(tensor.T) if tensor.ndim == 2 else tensor
        for name, tensor in tensors.items()
    }
    embedding = tensors["embedding.weight"]
    scales = np.array([1, TOKENS_SCALE, STEPS_SCALE], dtype=np.float32)
    ready["embedding.weight"] = np.ascontiguousarray((embedding[:, :-1] / scales).T)
    ready["embedding.bias"] = tensors["embedding.bias"] + embedding[:, -1] * np.float32(position)
    width = len(embedding)
    ready["query.weight"] = ready["query.weight"] / np.float32(math.sqrt(width // HEADS))
    ready["output.bias"] = tensors["output.bias"].astype(np.float64)
    return ready
