"""The base of the networks of agg and seq while they are trained."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trim.policies.ppo.trees import TreeBatch
from trim.policies.ppo.weights import Weights

Table = NDArray[np.float32]


class RouterNetwork(nn.Module):
    """A network of a learned router in torch; its policy runs it without torch.

    Attributes:
        features: names of the F inputs, without the price.
        log_odds: whether scores are given as log-odds.
        mean, scale: (F + 1,) of the inputs and the price, for normalisation.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: tuple[str, ...], log_odds: bool) -> None:
        super().__init__()
        self.features, self.log_odds = features, log_odds
        self.register_buffer("mean", torch.zeros(len(features) + 1))
        self.register_buffer("scale", torch.ones(len(features) + 1))

    def table(self, trees: TreeBatch) -> Table:
        """(N, columns) inputs at each node."""
        raise NotImplementedError

    def adapt(self, table: Table) -> None:
        """Set `mean` and `scale` to those of a table; the price stays as it is."""
        raise NotImplementedError

    def forward(self, rows: Tensor) -> Tensor:
        """(B,) log-odds of regenerating, or values, for (B, columns + 1) inputs and price."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Weights]:
        """The weights with the names and shapes of the policy, for inputs as they are."""
        raise NotImplementedError


def fold_normalisation(
    weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer on x that equals the given layer on (x - mean) / scale."""
    folded = weight / scale
    return folded, bias - folded @ mean


def initialised(layer: nn.Linear, gain: float) -> nn.Linear:
    """The layer with orthogonal weights and a bias of 0."""
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
