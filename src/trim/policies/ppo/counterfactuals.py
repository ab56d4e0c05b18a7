"""Exact values and counterfactual advantages of policies on recorded trees.

On a `TreeBatch` a policy is a probability to regenerate at each node. Recorded trees hold the
outcomes of both actions, so accuracy, cost and advantages follow from one backward pass,
without sampled episodes. The same pass with a maximum gives the optimal decisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.metrics.curve import Curve
from trim.policies.ppo.trees import LEAF_RIGHT, RESERVED, Floats, TreeBatch


def expected_outcomes(trees: TreeBatch, regenerate: NDArray[Any]) -> tuple[Floats, Floats]:
    """P(right answer) and expected strong tokens of each problem.

    Args:
        regenerate: (N,) or (N, policies) probabilities; see `TreeBatch.recorded_actions`.

    Returns:
        Two arrays of shape (P,) or (P, policies).
    """
    chosen = trees.recorded_actions(np.asarray(regenerate, dtype=np.float64))
    right = np.zeros((len(trees) + RESERVED, *chosen.shape[1:]))
    tokens = np.zeros_like(right)
    right[LEAF_RIGHT] = 1
    per_node = (-1,) + (1,) * (chosen.ndim - 1)
    for nodes in trees.nodes_by_step:
        share = chosen[nodes]
        kept, rewritten = trees.continue_to[nodes], trees.regenerate_to[nodes]
        cost = trees.strong_tokens[nodes].reshape(per_node)
        right[nodes] = (1 - share) * right[kept] + share * right[rewritten]
        tokens[nodes] = (1 - share) * tokens[kept] + share * (cost + tokens[rewritten])
    return right[trees.roots], tokens[trees.roots]


def counterfactual_advantages(
    trees: TreeBatch, regenerate: NDArray[Any], prices: NDArray[Any]
) -> tuple[Floats, Floats]:
    """The state distribution of policies, and their counterfactual advantages.

    Args:
        regenerate: (N, policies) probabilities.
        prices: (policies,) lambda of each policy, in right answers per strong token.

    Returns:
        Two arrays of shape (N, policies): P(the policy reaches the node | its problem), and
        Q(regenerate) - Q(continue) of the objective E[R - lambda * strong tokens] under the
        policy itself; 0 at nodes without a choice.
    """
    chosen = trees.recorded_actions(np.asarray(regenerate, dtype=np.float64))
    values = np.zeros((len(trees) + RESERVED, chosen.shape[1]))
    values[LEAF_RIGHT] = 1
    advantages = np.zeros_like(chosen)
    for nodes in trees.nodes_by_step:
        kept = values[trees.continue_to[nodes]]
        cost = trees.strong_tokens[nodes, None] * prices
        advantage = values[trees.regenerate_to[nodes]] - cost - kept
        values[nodes] = kept + chosen[nodes] * advantage
        advantages[nodes] = advantage * trees.has_choice[nodes, None]
    reach = np.zeros_like(values)
    reach[trees.roots] = 1
    for nodes in reversed(trees.nodes_by_step):
        # Several nodes may lead to one: add without buffering.
        np.add.at(reach, trees.continue_to[nodes], reach[nodes] * (1 - chosen[nodes]))
        np.add.at(reach, trees.regenerate_to[nodes], reach[nodes] * chosen[nodes])
    return reach[: len(trees)], advantages


def optimal_decisions(trees: TreeBatch, price: float) -> Floats:
    """(N,) the decisions, 0 or 1, that maximise right - price * strong tokens in each tree.

    They use the recorded outcome of each action: an upper limit for every policy.
    """
    values = np.zeros(len(trees) + RESERVED)
    values[LEAF_RIGHT] = 1
    decisions = trees.recorded_actions(np.zeros(len(trees)))
    for nodes in trees.nodes_by_step:
        kept = values[trees.continue_to[nodes]]
        rewritten = values[trees.regenerate_to[nodes]] - price * trees.strong_tokens[nodes]
        free = trees.has_choice[nodes]
        decisions[nodes[free]] = rewritten[free] > kept[free]
        values[nodes] = np.where(decisions[nodes] > 0, rewritten, kept)
    return decisions


def threshold_decisions(trees: TreeBatch, threshold: float) -> Floats:
    """(N,) the decisions, 0 or 1, of TRIM-Thr."""
    newest = trees.scores[np.arange(len(trees)), trees.step - 1]
    return ((newest < threshold) | (threshold == 1)).astype(np.float64)


def policy_curve(trees: TreeBatch, policies: Iterable[Floats]) -> Curve:
    """The cost-accuracy curve of policies, each (N,), between never and always rewriting."""
    both = [np.zeros(len(trees)), np.ones(len(trees))]
    decisions = np.stack([*both, *policies], axis=1)
    right, tokens = (figure.mean(axis=0) for figure in expected_outcomes(trees, decisions))
    return Curve(
        float(right[0]),
        float(right[1]),
        float(tokens[1]),
        tuple(zip((tokens[2:] / tokens[1]).tolist(), right[2:].tolist(), strict=True)),
    )
