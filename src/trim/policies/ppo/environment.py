"""Recorded trees as a gymnasium environment of parallel episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from trim.policies.ppo.trees import LEAF_RIGHT, UNKNOWN, Booleans, Floats, Integers, TreeBatch
from trim.policies.ppo.weights import PriceRange

CONTINUE, REGENERATE = 0, 1


class ReplayEnvironment(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Episodes that replay recorded trees; no language model runs.

    An episode is a problem and a price, both drawn at its start. Its rewards sum to
    R - lambda * (strong tokens), R = 1 for a right answer (arXiv 2601.10245, objective of
    TRIM-Agg and TRIM-Seq). If only one action is recorded, it is taken whatever the action
    given; `info["free"]` is (count,) whether there is a choice. A finished episode is replaced
    within the same step.

    Observations are (count, F + 1): a node's row of `table` and the position of the price in
    [-1, 1]. Actions are CONTINUE and REGENERATE.

    Args:
        trees: N nodes.
        table: (N, F) features of each node.
        prices: range of lambda, drawn uniformly on a logarithmic scale.
        count: number of parallel episodes.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, trees: TreeBatch, table: NDArray[np.float32], prices: PriceRange, count: int
    ) -> None:
        self.trees, self.table, self.prices, self.num_envs = trees, table, prices, count
        self.single_observation_space = Box(-np.inf, np.inf, (table.shape[1] + 1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.single_action_space = Discrete(2)
        self.action_space = MultiDiscrete(np.full(count, 2))
        self.node: Integers = np.zeros(count, dtype=np.int64)
        self.position: Floats = np.zeros(count)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._start(np.ones(self.num_envs, dtype=np.bool_))
        return self._observation(), self._info()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, Booleans, Booleans, dict[str, Any]]:
        trees, node = self.trees, self.node
        requested = np.asarray(actions) == REGENERATE
        rewritten = np.where(trees.has_choice[node], requested, trees.continue_to[node] == UNKNOWN)
        child = np.where(rewritten, trees.regenerate_to[node], trees.continue_to[node])
        price = self.prices.prices_at(self.position)
        rewards = (child == LEAF_RIGHT) - price * trees.strong_tokens[node] * rewritten
        ended: Booleans = child < 0
        self.node = np.where(ended, 0, child)
        self._start(ended)
        return self._observation(), rewards, ended, np.zeros_like(ended), self._info()

    def _start(self, ended: Booleans) -> None:
        """Start new episodes in place of those that `ended`, (count,)."""
        count = int(ended.sum())
        self.node[ended] = self.np_random.choice(self.trees.roots, count)
        self.position[ended] = self.np_random.uniform(-1, 1, count)

    def _observation(self) -> NDArray[np.float32]:
        position = self.position[:, None].astype(np.float32)
        if self.prices.lowest == self.prices.highest:
            position = np.zeros_like(position)
        return np.concatenate([self.table[self.node], position], axis=1)

    def _info(self) -> dict[str, Any]:
        return {"free": self.trees.has_choice[self.node]}
