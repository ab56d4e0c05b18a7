"""The network of TRIM-Seq in torch, for training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from trim.numerics import logit_array
from trim.policies.agg.policy import STEPS_SCALE, TOKENS_SCALE
from trim.policies.ppo.network import RouterNetwork, Table, fold_normalisation, initialised
from trim.policies.ppo.trees import TreeBatch
from trim.policies.ppo.weights import Weights
from trim.policies.seq.policy import FEATURES, HEADS, transformer_layer


class SeqNetwork(RouterNetwork):
    """The transformer layer of `trim.policies.seq.policy` on batches of traces.

    A row of its table is r_1..r_T, c_1..c_T (scaled) and
    t.
    """

    def __init__(self, log_odds: bool = True, width: int = 32, hidden: int = 64) -> None:
        super().__init__(FEATURES, log_odds)
        inputs = len(FEATURES) + 1
        self.embedding = initialised(nn.Linear(inputs, width), 2**0.5)
        self.query = initialised(nn.Linear(width, width, bias=False), 1)
        self.key = initialised(nn.Linear(width, width, bias=False), 1)
        self.value = initialised(nn.Linear(width, width, bias=False), 1)
        self.mix = initialised(nn.Linear(width, width, bias=False), 1)
        self.hidden = initialised(nn.Linear(width, hidden), 2**0.5)
        self.back = initialised(nn.Linear(hidden, width), 1)
        self.output = initialised(nn.Linear(width, 1), 0.01)

    def table(self, trees: TreeBatch) -> Table:
        """(N, 2 T + 1) scores, tokens and step at each node."""
        scores = logit_array(trees.scores) if self.log_odds else trees.scores
        columns = [scores, trees.tokens / TOKENS_SCALE, trees.step[:, None]]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def adapt(self, table: Table) -> None:
        scores, tokens, step = self.split(torch.from_numpy(table))
        newest = torch.arange(len(table)), step - 1
        columns = [scores[newest], tokens[newest], step / STEPS_SCALE]
        for index, column in enumerate(columns):
            self.mean[index] = column.mean()
            self.scale[index] = column.std(correction=0).clamp(min=1e-4)

    @staticmethod
    def split(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, T), tokens (B, T) and t (B,) of rows of a table."""
        depth = (table.shape[1] - 1) // 2
        return table[:, :depth], table[:, depth : 2 * depth], table[:, -1].long()

    def forward(self, rows: Tensor) -> Tensor:
        scores, tokens, step = self.split(rows[:, :-1])
        count, depth = scores.shape
        number = torch.arange(1, depth + 1)
        price = rows[:, -1:].expand(-1, depth)
        inputs = torch.stack(
            [scores, tokens, (number / STEPS_SCALE).expand(count, -1), price], dim=-1
        )
        newest = torch.arange(count), step - 1
        visible = (number <= step[:, None])[..., None]
        return transformer_layer(torch, self._weights(), inputs, newest, visible)

    def _weights(self) -> dict[str, Tensor]:
        """Parameters as `transformer_layer` reads them: (inputs, outputs), scales folded in."""
        weights = {
            name: tensor.T if tensor.ndim == 2 else tensor
            for name, tensor in self.named_parameters()
        }
        weight, bias = fold_normalisation(
            self.embedding.weight, self.embedding.bias, self.mean, self.scale
        )
        weights["embedding.weight"], weights["embedding.bias"] = weight.T, bias
        weights["query.weight"] = self.query.weight.T / (len(weight) // HEADS) ** 0.5
        weights["output.weight"] = self.output.weight[0]
        return weights

    def tensors(self) -> dict[str, Weights]:
        tensors = dict(self.named_parameters())
        tensors["embedding.weight"], tensors["embedding.bias"] = fold_normalisation(
            self.embedding.weight, self.embedding.bias, self.mean, self.scale
        )
        tensors["output.weight"] = self.output.weight[0]
        return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}
