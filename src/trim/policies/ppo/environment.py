"""A forest as a gymnasium environment: thousands of episodes side by side, by indexing."""

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


class Replay(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """Episodes that replay what was recorded; no model runs.

    An episode is a problem with a price, both drawn at its start. Its rewards add up to
    R - lambda * (tokens of the strong model), R = 1 for a right answer (arXiv 2601.10245,
    the objective of TRIM-Agg and TRIM-Seq). Where only one action is recorded that one is
    taken, whatever was asked; `info["free"]` says at which of the observations there is a
    choice. An episode that has ended starts anew within the same step.

    Observations are (count, F + 1): a node's row of `table` and the price's position in
    [-1, 1]. Actions are CONTINUE and REGENERATE.

    Args:
        forest: what is replayed, of N nodes.
        table: (N, F) what a router sees at each node.
        prices: from which lambda is drawn, evenly on a logarithmic scale.
        count: episodes side by side.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self, forest: TreeBatch, table: NDArray[np.float32], prices: PriceRange, count: int
    ) -> None:
        self.forest, self.table, self.prices, self.num_envs = forest, table, prices, count
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
        self.begin(np.ones(self.num_envs, dtype=np.bool_))
        return self.observation(), self.info()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, Booleans, Booleans, dict[str, Any]]:
        forest, node = self.forest, self.node
        asked = np.asarray(actions) == REGENERATE
        rewritten = np.where(forest.free[node], asked, forest.continue_to[node] == UNKNOWN)
        child = np.where(rewritten, forest.regenerate_to[node], forest.continue_to[node])
        price = self.prices.at(self.position)
        rewards = (child == LEAF_RIGHT) - price * forest.strong_tokens[node] * rewritten
        ended: Booleans = child < 0
        self.node = np.where(ended, 0, child)
        self.begin(ended)
        return self.observation(), rewards, ended, np.zeros_like(ended), self.info()

    def begin(self, ended: Booleans) -> None:
        """Put new episodes where old ones have ended."""
        count = int(ended.sum())
        self.node[ended] = self.np_random.choice(self.forest.roots, count)
        self.position[ended] = self.np_random.uniform(-1, 1, count)

    def observation(self) -> NDArray[np.float32]:
        place = self.position[:, None].astype(np.float32)
        if self.prices.lowest == self.prices.highest:
            place = np.zeros_like(place)
        return np.concatenate([self.table[self.node], place], axis=1)

    def info(self) -> dict[str, Any]:
        return {"free": self.forest.free[self.node]}
