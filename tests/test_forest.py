"""What learned routers stand on: exact figures on recorded trees, features, prices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_forests import draw_forest, drawn_policy

from trim.errors import InvalidInput
from trim.numerics import logit, logit_array
from trim.policies.agg.policy import PAPER, SCRIPTS, features, features_of_all
from trim.policies.ppo import counterfactuals
from trim.policies.ppo.trees import LEAF_RIGHT, UNKNOWN
from trim.policies.ppo.weights import PriceRange

seeds = st.integers(0, 10**6)
few = settings(max_examples=25, deadline=None)


def walk(forest, node, regenerate):
    """Right answers and tokens expected from a node, by the definition."""
    if node < 0:
        return float(node == LEAF_RIGHT), 0.0
    choices = [
        (to, price)
        for to, price in (
            (forest.continue_to[node], 0.0),
            (forest.regenerate_to[node], forest.strong_tokens[node]),
        )
    ]
    share = regenerate[node]
    if choices[0][0] == UNKNOWN or choices[1][0] == UNKNOWN:
        share = float(choices[0][0] == UNKNOWN)
    total = np.zeros(2)
    for probability, (to, price) in zip((1 - share, share), choices, strict=True):
        if probability:
            right, tokens = walk(forest, to, regenerate)
            total += probability * np.array([right, price + tokens])
    return tuple(total)


@few
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_outcomes_are_what_walking_every_path_gives(seed, unknown):
    forest = draw_forest(5, seed, unknown=unknown)
    policy = drawn_policy(forest, seed, 1)[:, 0]
    right, tokens = counterfactuals.expected_outcomes(forest, policy)
    walked = np.array([walk(forest, root, policy) for root in forest.roots])
    np.testing.assert_allclose(np.stack([right, tokens], axis=1), walked)


@few
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_a_policys_gains_and_reach_are_the_slope_of_its_objective(seed, unknown):
    forest = draw_forest(5, seed, unknown=unknown)
    policy, prices = drawn_policy(forest, seed), np.array([0.001, 0.01, 0.04])
    reach, gains = counterfactuals.counterfactual_advantages(forest, policy, prices)

    def summed(regenerate):
        right, tokens = counterfactuals.expected_outcomes(forest, regenerate)
        return (right - prices * tokens).sum(axis=0)

    node = seed % len(forest)
    low, high = policy.copy(), policy.copy()
    low[node], high[node] = 0, 1
    # The objective is linear in the probability at one node.
    slope = summed(high) - summed(low)
    np.testing.assert_allclose(slope, reach[node] * gains[node], atol=1e-9)


@few
@given(seeds)
def test_every_problem_reaches_one_leaf(seed):
    forest = draw_forest(5, seed)
    policy = drawn_policy(forest, seed)
    reach, _ = counterfactuals.counterfactual_advantages(forest, policy, np.zeros(3))
    ends = (1 - policy) * (forest.continue_to < 0)[:, None]
    ends += policy * (forest.regenerate_to < 0)[:, None]
    np.testing.assert_allclose((reach * ends).sum(axis=0), len(forest.roots))


@few
@given(seeds, st.sets(st.integers(0, 9), min_size=1))
def test_chosen_problems_keep_their_outcomes(seed, chosen):
    forest = draw_forest(10, seed, unknown=0.1)
    problems = np.array(sorted(chosen)) % len(forest.roots)
    some = forest.select(problems)
    policy = drawn_policy(forest, seed)
    unique = np.unique(problems)
    kept = policy[np.isin(forest.problem, unique)]
    for whole, part in zip(
        counterfactuals.expected_outcomes(forest, policy),
        counterfactuals.expected_outcomes(some, kept),
        strict=True,
    ):
        np.testing.assert_allclose(part, whole[unique])


@few
@given(seeds, st.sampled_from([PAPER, SCRIPTS]), st.booleans())
def test_features_in_training_are_those_at_run_time(seed, names, log_odds):
    forest = draw_forest(5, seed)
    table = features_of_all(names, log_odds, forest.scores, forest.tokens, forest.step)
    for row, scores, tokens, step in zip(
        table, forest.scores, forest.tokens, forest.step, strict=True
    ):
        np.testing.assert_allclose(row, features(names, log_odds, scores[:step], tokens[:step]))


def test_features_are_the_methods():
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
def test_a_range_without_prices_is_refused(bounds):
    with pytest.raises(InvalidInput, match="not a range"):
        PriceRange(*bounds)
