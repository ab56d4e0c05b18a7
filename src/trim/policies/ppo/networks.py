"""The networks of agg and seq while they are trained; `trim.policies` runs them without torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trim.numerics import logit_array
from trim.policies.agg import policy as agg
from trim.policies.agg.policy import STEPS_SCALE, TOKENS_SCALE, features_of_all
from trim.policies.ppo.trees import TreeBatch
from trim.policies.ppo.weights import Weights
from trim.policies.seq import policy as seq

Table = NDArray[np.float32]


class Network(Protocol):
    """What the trainer needs of a family's network."""

    features: tuple[str, ...]
    odds: bool

    def table(self, forest: TreeBatch) -> Table:
        """(N, F) what a router sees at each node."""

    def adapt(self, table: Table) -> None:
        """Take the inputs' means and spreads from a table, so that training starts well."""

    def forward(self, observations: Tensor) -> Tensor:
        """(B,) log-odds of regenerating, or values, for (B, F + 1) rows with the price."""

    def tensors(self) -> dict[str, Weights]:
        """The weights as the policy reads them."""


def standardised(
    weight: Tensor, bias: Tensor, mean: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights for plain inputs that do what the given ones do for (input - mean) / scale."""
    plain = weight / scale
    return plain, bias - plain @ mean


def initialised(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class AggNetwork(nn.Module):
    """Two tanh layers (arXiv 2601.10245: 128 wide; the authors' scripts: 64)."""

    def __init__(
        self, names: tuple[str, ...] = agg.PAPER, odds: bool = True, width: int = 64
    ) -> None:
        super().__init__()
        self.features, self.odds = names, odds
        inputs = len(names) + 1
        self.hidden1 = initialised(nn.Linear(inputs, width), 2**0.5)
        self.hidden2 = initialised(nn.Linear(width, width), 2**0.5)
        self.output = initialised(nn.Linear(width, 1), 0.01)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.mean: Tensor
        self.scale: Tensor

    def table(self, forest: TreeBatch) -> Table:
        seen = features_of_all(self.features, self.odds, forest.scores, forest.tokens, forest.step)
        return seen.astype(np.float32)

    def adapt(self, table: Table) -> None:
        self.mean[:-1] = torch.from_numpy(table.mean(axis=0))
        self.scale[:-1] = torch.from_numpy(table.std(axis=0)).clamp(min=1e-4)

    def forward(self, observations: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden1((observations - self.mean) / self.scale))
        output: Tensor = self.output(torch.tanh(self.hidden2(hidden)))
        return output.squeeze(-1)

    def tensors(self) -> dict[str, Weights]:
        weight, bias = standardised(self.hidden1.weight, self.hidden1.bias, self.mean, self.scale)
        plain = {
            "hidden1.weight": weight,
            "hidden1.bias": bias,
            "hidden2.weight": self.hidden2.weight,
            "hidden2.bias": self.hidden2.bias,
            "output.weight": self.output.weight[0],
            "output.bias": self.output.bias,
        }
        return {name: tensor.detach().numpy().copy() for name, tensor in plain.items()}


class SeqNetwork(nn.Module):
    """One transformer layer over the steps' (r_i, c_i, i), of which the newest step is read.

    A row of its table is r_1..r_T, c_1..c_T (scaled) and t.
    """

    def __init__(self, odds: bool = True, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.features, self.odds = seq.FEATURES, odds
        inputs = len(seq.FEATURES) + 1
        self.embedding = initialised(nn.Linear(inputs, width), 2**0.5)
        self.query = initialised(nn.Linear(width, width, bias=False), 1)
        self.key = initialised(nn.Linear(width, width, bias=False), 1)
        self.value = initialised(nn.Linear(width, width, bias=False), 1)
        self.mix = initialised(nn.Linear(width, width, bias=False), 1)
        self.hidden = initialised(nn.Linear(width, hidden), 2**0.5)
        self.back = initialised(nn.Linear(hidden, width), 1)
        self.output = initialised(nn.Linear(width, 1), 0.01)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.mean: Tensor
        self.scale: Tensor

    def table(self, forest: TreeBatch) -> Table:
        scores = logit_array(forest.scores) if self.odds else forest.scores
        columns = [scores, forest.tokens / TOKENS_SCALE, forest.step[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def adapt(self, table: Table) -> None:
        scores, tokens, step = self.parts(torch.from_numpy(table))
        newest = torch.arange(len(table)), step - 1
        columns = [scores[newest], tokens[newest], step / STEPS_SCALE]
        for index, column in enumerate(columns):
            self.mean[index] = column.mean()
            self.scale[index] = column.std(correction=0).clamp(min=1e-4)

    @staticmethod
    def parts(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, T), tokens (B, T) and t (B,) of rows of a table."""
        depth = (table.shape[1] - 1) // 2
        return table[:, :depth], table[:, depth : 2 * depth], table[:, -1].long()

    def forward(self, observations: Tensor) -> Tensor:
        scores, tokens, step = self.parts(observations[:, :-1])
        rows, depth = scores.shape
        number = torch.arange(1, depth + 1)
        place = observations[:, -1:].expand(-1, depth)
        inputs = torch.stack(
            [scores, tokens, (number / STEPS_SCALE).expand(rows, -1), place], dim=-1
        )
        embedded = torch.tanh(self.embedding((inputs - self.mean) / self.scale))
        newest = embedded[torch.arange(rows), step - 1]
        split = seq.HEADS, embedded.shape[-1] // seq.HEADS
        asked = self.query(newest).view(rows, 1, *split)
        match = (self.key(embedded).view(rows, depth, *split) * asked).sum(-1) / split[1] ** 0.5
        later = (number > step[:, None])[:, :, None]
        heard = match.masked_fill(later, -torch.inf).softmax(dim=1)
        mixed = (heard[..., None] * self.value(embedded).view(rows, depth, *split)).sum(1)
        state = newest + self.mix(mixed.reshape(rows, -1))
        state = state + self.back(torch.tanh(self.hidden(state)))
        output: Tensor = self.output(state)
        return output.squeeze(-1)

    def tensors(self) -> dict[str, Weights]:
        plain = {name: tensor for name, tensor in self.state_dict().items() if "." in name}
        weight, bias = self.embedding.weight, self.embedding.bias
        plain["embedding.weight"], plain["embedding.bias"] = standardised(
            weight, bias, self.mean, self.scale
        )
        plain["output.weight"] = self.output.weight[0]
        return {name: tensor.detach().numpy().copy() for name, tensor in plain.items()}
