"""What routers achieve on recorded trees, exactly: no sampling, no rollouts.

On a forest a policy is a number in [0, 1] for each node, the probability to regenerate, and
its accuracy and cost follow by one backward pass. The same pass with a maximum gives the
router that knows each tree to its leaves: no policy has a better curve.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.metrics.curve import Curve
from trim.policies.ppo.trees import LEAF_RIGHT, SPECIAL, Floats, TreeBatch


def outcomes(forest: TreeBatch, regenerate: NDArray[Any]) -> tuple[Floats, Floats]:
    """Probability of a right answer and expected strong tokens, of each problem.

    Args:
        regenerate: (N,) or (N, policies), in [0, 1]; see `TreeBatch.allowed`.

    Returns:
        Two arrays of shape (P,) or (P, policies).
    """
    chosen = forest.allowed(np.asarray(regenerate, dtype=np.float64))
    right = np.zeros((len(forest) + SPECIAL, *chosen.shape[1:]))
    tokens = np.zeros_like(right)
    right[LEAF_RIGHT] = 1
    per_node = (-1,) + (1,) * (chosen.ndim - 1)
    for nodes in forest.by_step:
        share = chosen[nodes]
        kept, rewritten = forest.continue_to[nodes], forest.regenerate_to[nodes]
        price = forest.strong_tokens[nodes].reshape(per_node)
        right[nodes] = (1 - share) * right[kept] + share * right[rewritten]
        tokens[nodes] = (1 - share) * tokens[kept] + share * (price + tokens[rewritten])
    return right[forest.roots], tokens[forest.roots]


def counterfactuals(
    forest: TreeBatch, regenerate: NDArray[Any], prices: NDArray[Any]
) -> tuple[Floats, Floats]:
    """How often policies come to each node, and what regenerating there is worth to them.

    Args:
        regenerate: (N, policies), in [0, 1].
        prices: (policies,) lambda of each policy, in right answers a strong token.

    Returns:
        Two arrays of shape (N, policies): the probability to reach a node of its problem,
        and Q(regenerate) - Q(continue) for the objective E[R - lambda * strong tokens] with
        the policy itself after that; 0 where there is no choice.
    """
    chosen = forest.allowed(np.asarray(regenerate, dtype=np.float64))
    values = np.zeros((len(forest) + SPECIAL, chosen.shape[1]))
    values[LEAF_RIGHT] = 1
    gains = np.zeros_like(chosen)
    for nodes in forest.by_step:
        kept = values[forest.continue_to[nodes]]
        cost = forest.strong_tokens[nodes, None] * prices
        gain = values[forest.regenerate_to[nodes]] - cost - kept
        values[nodes] = kept + chosen[nodes] * gain
        gains[nodes] = gain * forest.free[nodes, None]
    reach = np.zeros_like(values)
    reach[forest.roots] = 1
    for nodes in reversed(forest.by_step):
        # Paths may meet again in a node: what leads there adds up.
        np.add.at(reach, forest.continue_to[nodes], reach[nodes] * (1 - chosen[nodes]))
        np.add.at(reach, forest.regenerate_to[nodes], reach[nodes] * chosen[nodes])
    return reach[: len(forest)], gains


def clairvoyant(forest: TreeBatch, penalty: float) -> Floats:
    """(N,) the decisions that maximise right - penalty * strong tokens in every tree.

    Knows what each action leads to, which no router can: the limit of all.
    """
    values = np.zeros(len(forest) + SPECIAL)
    values[LEAF_RIGHT] = 1
    decisions = forest.allowed(np.zeros(len(forest)))
    for nodes in forest.by_step:
        kept = values[forest.continue_to[nodes]]
        paid = values[forest.regenerate_to[nodes]] - penalty * forest.strong_tokens[nodes]
        free = forest.free[nodes]
        decisions[nodes[free]] = paid[free] > kept[free]
        values[nodes] = np.where(decisions[nodes] > 0, paid, kept)
    return decisions


def threshold(forest: TreeBatch, value: float) -> Floats:
    """(N,) the decisions of TRIM-Thr."""
    newest = forest.scores[np.arange(len(forest)), forest.step - 1]
    return ((newest < value) | (value == 1)).astype(np.float64)


def measure(forest: TreeBatch, policies: Iterable[Floats]) -> Curve:
    """The curve through policies, each (N,), between keeping and rewriting every draft."""
    both = [np.zeros(len(forest)), np.ones(len(forest))]
    decisions = np.stack([*both, *policies], axis=1)
    right, tokens = (figure.mean(axis=0) for figure in outcomes(forest, decisions))
    return Curve(
        float(right[0]),
        float(right[1]),
        float(tokens[1]),
        tuple(zip((tokens[2:] / tokens[1]).tolist(), right[2:].tolist(), strict=True)),
    )
