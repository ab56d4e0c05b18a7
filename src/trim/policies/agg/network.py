"""The network of TRIM-Agg in torch, for training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trim.policies.agg.policy import PAPER, features_of_all
from trim.policies.ppo.network import RouterNetwork, Table, fold_normalisation, initialised
from trim.policies.ppo.trees import TreeBatch
from trim.policies.ppo.weights import Weights


class AggNetwork(RouterNetwork):
    """Two tanh layers.

    arXiv 2601.10245 has 128 units in each. The authors' scripts have 64, a third tanh layer, layer
    normalisation and dropout.
    """

    def __init__(
        self, features: tuple[str, ...] = PAPER, log_odds: bool = True, width: int = 64
    ) -> None:
        super().__init__(features, log_odds)
        inputs = len(features) + 1
        self.hidden1 = initialised(nn.Linear(inputs, width), 2**0.5)
        self.hidden2 = initialised(nn.Linear(width, width), 2**0.5)
        self.output = initialised(nn.Linear(width, 1), 0.01)

    def table(self, trees: TreeBatch) -> Table:
        """(N, F) features at each node."""
        rows = features_of_all(self.features, self.log_odds, trees.scores, trees.tokens, trees.step)
        return rows.astype("float32")

    def adapt(self, table: Table) -> None:
        self.mean[:-1] = torch.from_numpy(table.mean(axis=0))
        self.scale[:-1] = torch.from_numpy(table.std(axis=0)).clamp(min=1e-4)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden1((rows - self.mean) / self.scale))
        output: Tensor = self.output(torch.tanh(self.hidden2(hidden)))
        return output.squeeze(-1)

    def tensors(self) -> dict[str, Weights]:
        weight, bias = fold_normalisation(
            self.hidden1.weight, self.hidden1.bias, self.mean, self.scale
        )
        tensors = {
            "hidden1.weight": weight,
            "hidden1.bias": bias,
            "hidden2.weight": self.hidden2.weight,
            "hidden2.bias": self.hidden2.bias,
            "output.weight": self.output.weight[0],
            "output.bias": self.output.bias,
        }
        return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}
