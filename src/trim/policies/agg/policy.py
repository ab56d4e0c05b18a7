"""TRIM-Agg: a small network on aggregates of the trace (arXiv 2601.10245)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.numerics import logit, logit_array, sigmoid
from trim.policies.policy import Explanation, FittedPolicy, PricedPolicies, describe_comparison
from trim.policies.ppo.weights import LearnedRouter, Weights, read_router
from trim.types import Action, Observation

PAPER = ("score", "lowest", "tokens", "step")
"""The default: r_t, min r_1..r_{t-1}, c_t / 300, t / 30; the paper does not state the two scales,
which are those of the authors' scripts."""
SCRIPTS = (*PAPER, "product")
"""With the product of r_1..r_{t-1}, as in the authors' scripts."""
SCORES = (0, 1, 4)
"""Indices of features that are scores, and can be given as log-odds."""
TOKENS_SCALE, STEPS_SCALE = 300.0, 30.0

SHAPES: dict[str, tuple[str | int, ...]] = {
    "hidden1.weight": ("first", "inputs"),
    "hidden1.bias": ("first",),
    "hidden2.weight": ("second", "first"),
    "hidden2.bias": ("second",),
    "output.weight": ("second",),
    "output.bias": (1,),
}
"""Tensors in the file. hidden1 reads the features, then the position of the price."""


def features(
    names: Sequence[str], log_odds: bool, scores: Sequence[float], tokens: Sequence[int]
) -> list[float]:
    """The features `names` of a trace whose newest step is a draft.

    Args:
        log_odds: whether scores are given as log-odds.
        scores, tokens: r_1..r_t in [0, 1] and c_1..c_t. An empty minimum or product is 1.
    """
    earlier = scores[:-1]
    found = [
        scores[-1],
        min(earlier, default=1.0),
        tokens[-1] / TOKENS_SCALE,
        len(scores) / STEPS_SCALE,
    ]
    if "product" in names:
        found.append(math.prod(earlier))
    if log_odds:
        for index in SCORES[: len(found) - 2]:
            found[index] = logit(found[index])
    return found


def features_of_all(
    names: Sequence[str],
    log_odds: bool,
    scores: NDArray[np.float64],
    tokens: NDArray[np.float64],
    step: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(N, features) `features` of many traces.

    Args:
        scores, tokens: (N, T), as in `trim.policies.ppo.trees.TreeBatch`.
        step: (N,) t, from 1.
    """
    newest = np.arange(len(step)), step - 1
    earlier = np.where(np.arange(scores.shape[1]) < step[:, None] - 1, scores, 1.0)
    columns = [
        scores[newest],
        earlier.min(axis=1),
        tokens[newest] / TOKENS_SCALE,
        step / STEPS_SCALE,
    ]
    if "product" in names:
        columns.append(earlier.prod(axis=1))
    if log_odds:
        for index in SCORES[: len(columns) - 2]:
            columns[index] = logit_array(columns[index])
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class AggPolicy(FittedPolicy):
    """Regenerates if the output of the network is positive. Read by `read_agg`.

    Attributes:
        price: lambda, in right answers per strong token; already in the biases.
        names: the features that the network reads.
        log_odds: whether scores are given as log-odds.
        layers: weights and biases of two tanh layers and of the output.
        scorer: the kind of score that it was trained on.
    """

    price: float
    names: tuple[str, ...]
    log_odds: bool
    layers: tuple[tuple[Weights, Weights], tuple[Weights, Weights], tuple[Weights, float]]
    scorer: str

    @property
    def name(self) -> str:
        return self.labelled_name("agg", self.price)

    def decide(self, observation: Observation) -> Action:
        inputs = features(self.names, self.log_odds, observation.scores, observation.tokens)
        return Action.REGENERATE if self.output(inputs) > 0 else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        inputs = features(self.names, self.log_odds, observation.scores, observation.tokens)
        probability = sigmoid(self.output(inputs))
        return Explanation(describe_comparison("probability of rewriting", probability, 0.5))

    def output(self, inputs: Sequence[float]) -> float:
        """Log-odds of regenerating, for the features of `names`."""
        (first, first_bias), (second, second_bias), (output, output_bias) = self.layers
        hidden = np.tanh(first @ np.array(inputs, dtype=np.float32) + first_bias)
        hidden = np.tanh(second @ hidden + second_bias)
        return float(output @ hidden) + output_bias


def read_agg(folder: Path) -> PricedPolicies[AggPolicy]:
    """The policies of a folder of `trim train`. Raises as `read_router`."""
    router = read_router(folder, "agg", (PAPER, SCRIPTS), SHAPES)
    return PricedPolicies(
        router.range.lowest,
        router.range.highest,
        router.prices,
        lambda price: agg_policy(router, price),
        router.separate,
    )


def agg_policy(router: LearnedRouter, price: float) -> AggPolicy:
    """Raises InvalidInput for a price that the router was not trained for."""
    tensors, position = router.network_at(price)
    first = tensors["hidden1.weight"]
    return AggPolicy(
        price,
        router.features,
        router.log_odds,
        (
            (
                np.ascontiguousarray(first[:, :-1]),
                tensors["hidden1.bias"] + first[:, -1] * np.float32(position),
            ),
            (tensors["hidden2.weight"], tensors["hidden2.bias"]),
            (tensors["output.weight"], float(tensors["output.bias"][0])),
        ),
        router.scorer,
        models=router.models,
    )
