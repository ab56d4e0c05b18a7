"""Exact values on recorded trees, features and prices of learned routers."""

import numpy as np
import pytest
from drawn_trees import draw_trees, drawn_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.errors import InvalidInput
from trim.numerics import logit, logit_array
from trim.policies.agg.policy import PAPER, SCRIPTS, features, features_of_all
from trim.policies.ppo import counterfactuals
from trim.policies.ppo.trees import LEAF_RIGHT, UNKNOWN
from trim.policies.ppo.weights import PriceRange

seeds = st.integers(0, 10**6)
few = settings(max_examples=25, deadline=None)


def path_sum(trees, node, regenerate):
    """Right answers and tokens expected from a node, by the definition."""
    if node < 0:
        return float(node == LEAF_RIGHT), 0.0
    choices = [
        (to, price)
        for to, price in (
            (trees.continue_to[node], 0.0),
            (trees.regenerate_to[node], trees.strong_tokens[node]),
        )
    ]
    share = regenerate[node]
    if choices[0][0] == UNKNOWN or choices[1][0] == UNKNOWN:
        share = float(choices[0][0] == UNKNOWN)
    total = np.zeros(2)
    for probability, (to, price) in zip((1 - share, share), choices, strict=True):
        if probability:
            right, tokens = path_sum(trees, to, regenerate)
            total += probability * np.array([right, price + tokens])
    return tuple(total)


@few
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_expected_outcomes_equal_the_sum_over_all_paths(seed, unknown):
    trees = draw_trees(5, seed, unknown=unknown)
    policy = drawn_policy(trees, seed, 1)[:, 0]
    right, tokens = counterfactuals.expected_outcomes(trees, policy)
    summed_paths = np.array([path_sum(trees, root, policy) for root in trees.roots])
    np.testing.assert_allclose(np.stack([right, tokens], axis=1), summed_paths)


@few
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_reach_times_advantage_is_the_gradient_of_the_objective(seed, unknown):
    trees = draw_trees(5, seed, unknown=unknown)
    policy, prices = drawn_policy(trees, seed), np.array([0.001, 0.01, 0.04])
    reach, gains = counterfactuals.counterfactual_advantages(trees, policy, prices)

    def summed(regenerate):
        right, tokens = counterfactuals.expected_outcomes(trees, regenerate)
        return (right - prices * tokens).sum(axis=0)

    node = seed % len(trees)
    low, high = policy.copy(), policy.copy()
    low[node], high[node] = 0, 1
    # The objective is linear in the probability at one node.
    slope = summed(high) - summed(low)
    np.testing.assert_allclose(slope, reach[node] * gains[node], atol=1e-9)


@few
@given(seeds)
def test_every_problem_reaches_one_leaf(seed):
    trees = draw_trees(5, seed)
    policy = drawn_policy(trees, seed)
    reach, _ = counterfactuals.counterfactual_advantages(trees, policy, np.zeros(3))
    ends = (1 - policy) * (trees.continue_to < 0)[:, None]
    ends += policy * (trees.regenerate_to < 0)[:, None]
    np.testing.assert_allclose((reach * ends).sum(axis=0), len(trees.roots))


@few
@given(seeds, st.sets(st.integers(0, 9), min_size=1))
def test_chosen_problems_keep_their_outcomes(seed, chosen):
    trees = draw_trees(10, seed, unknown=0.1)
    problems = np.array(sorted(chosen)) % len(trees.roots)
    some = trees.select(problems)
    policy = drawn_policy(trees, seed)
    unique = np.unique(problems)
    kept = policy[np.isin(trees.problem, unique)]
    for whole, part in zip(
        counterfactuals.expected_outcomes(trees, policy),
        counterfactuals.expected_outcomes(some, kept),
        strict=True,
    ):
        np.testing.assert_allclose(part, whole[unique])


@few
@given(seeds, st.sampled_from([PAPER, SCRIPTS]), st.booleans())
def test_training_and_policy_have_the_same_features(seed, names, log_odds):
    trees = draw_trees(5, seed)
    table = features_of_all(names, log_odds, trees.scores, trees.tokens, trees.step)
    for row, scores, tokens, step in zip(
        table, trees.scores, trees.tokens, trees.step, strict=True
    ):
        np.testing.assert_allclose(row, features(names, log_odds, scores[:step], tokens[:step]))


def test_features_are_those_of_the_paper():
    assert features(SCRIPTS, False, (0.5, 0.8, 0.9), (60, 30, 15)) == [0.9, 0.5, 0.05, 0.1, 0.4]
    assert features(SCRIPTS, False, (0.3,), (300,)) == [0.3, 1.0, 1.0, 1 / 30, 1.0]
    assert features(PAPER, False, (0.3,), (300,)) == [0.3, 1.0, 1.0, 1 / 30]


@given(st.floats(0, 1), st.floats(0, 1))
def test_log_odds_keep_the_order_of_scores(one, other):
    low, high = sorted((one, other))
    assert -10 < logit(low) <= logit(high) < 10
    assert logit(one) == pytest.approx(-logit(1 - one), abs=1e-6)
    assert float(logit_array(np.array(one))) == pytest.approx(logit(one), abs=1e-9)


@few
@given(st.floats(1e-6, 0.01), st.floats(1.5, 1e4), st.floats(0, 1))
def test_positions_and_prices_are_inverse(lowest, ratio, share):
    prices = PriceRange(lowest, lowest * ratio)
    price = float(prices.prices_at(np.array(2 * share - 1)))
    assert prices.positions(np.array(price)) == pytest.approx(2 * share - 1, abs=1e-6)
    assert prices.position(lowest) == pytest.approx(-1)
    assert prices.position(lowest * ratio) == pytest.approx(1)


@pytest.mark.parametrize("bounds", [(0, 1), (0.1, 0.01), (-1, 1), (0.1, float("inf"))])
def test_an_invalid_price_range_is_refused(bounds):
    with pytest.raises(InvalidInput, match="not a range"):
        PriceRange(*bounds)
