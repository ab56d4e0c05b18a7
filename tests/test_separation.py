"""When scores are taken to tell right steps from wrong ones."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.checks.findings import best_scorer, scorer_advice, shown_auc
from trim.checks.separation import FEWEST, MARGIN, ScorerFitness, Separation

scores = st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), max_size=15).map(tuple)


def of(right, wrong):
    return Separation(tuple(right), tuple(wrong))


@given(scores, scores)
def test_the_auc_is_the_share_of_pairs_in_the_right_order(right, wrong):
    found = of(right, wrong).auc
    if not right or not wrong:
        assert found is None
        return
    won = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    assert found == pytest.approx(sum(won) / len(won))


@given(scores, scores)
def test_what_is_fit_is_unfit_the_other_way_round(right, wrong):
    there, back = of(right, wrong), of(wrong, right)
    if there.fitness is ScorerFitness.FIT:
        assert back.fitness is ScorerFitness.UNFIT
        assert there.auc >= 0.7
        assert there.means[0] - there.means[1] >= MARGIN
    assert (there.fitness is ScorerFitness.UNCLEAR and not there.enough) == (
        min(len(right), len(wrong)) < FEWEST
    )


@pytest.mark.parametrize(
    ("right", "wrong", "fitness"),
    [
        ([0.65] * 8, [0.62] * 8, ScorerFitness.FIT),
        ([0.5] * 8, [0.5] * 8, ScorerFitness.UNFIT),
        ([0.504] * 8, [0.5] * 8, ScorerFitness.UNFIT),
        ([0.4] * 8, [0.9] * 8, ScorerFitness.UNFIT),
        ([0.9] * 40, [0.1] * 4, ScorerFitness.UNCLEAR),
        ([0.9] * 40, [], ScorerFitness.UNCLEAR),
        ([], [], ScorerFitness.UNCLEAR),
        ([0.9] * 4 + [0.1], [0.2] * 5, ScorerFitness.UNCLEAR),
        ([0.9] * 16 + [0.1] * 4, [0.2] * 20, ScorerFitness.FIT),
    ],
)
def test_the_rule(right, wrong, fitness):
    assert of(right, wrong).fitness is fitness


def test_scores_without_information_are_seldom_fit():
    draw = random.Random(0)
    for m, k in ((5, 5), (5, 27), (12, 12), (20, 20)):
        trials = [
            of([draw.random() for _ in range(m)], [draw.random() for _ in range(k)]).fitness
            for _ in range(400)
        ]
        assert trials.count(ScorerFitness.FIT) < 0.08 * len(trials)
        assert trials.count(ScorerFitness.UNFIT) > 0.8 * len(trials)


def test_the_best_is_named_and_the_configured_kept_where_it_is_as_good():
    good, better = of([0.9] * 10, [0.9] * 1 + [0.1] * 9), of([0.9] * 10, [0.1] * 10)
    fair = of([0.9] * 8 + [0.1] * 2, [0.2] * 10)
    bad, few = of([0.5] * 10, [0.5] * 10), of([0.9] * 10, [0.1])
    assert best_scorer({"grade": good, "logprob": better}) == "logprob"
    assert best_scorer({"grade": good, "logprob": better}, "grade") == "grade"
    assert best_scorer({"grade": fair, "logprob": better}, "grade") == "logprob"
    assert best_scorer({"grade": bad, "entropy": few}) is None
    line = scorer_advice({"logprob": bad, "grade": good, "entropy": few}, "logprob").line
    assert line == (
        "recommended scorer: grade (0.95 of pairs right); configured: logprob (0.50);"
        " also tried: entropy (?)"
    )
    assert "as configured" in scorer_advice({"grade": good}, "grade").line
    assert "none separates right from wrong" in scorer_advice({"grade": bad}, None).line
    assert "too few samples" in scorer_advice({"grade": bad, "entropy": few}, None).line
    assert scorer_advice({}, None).line is None
    assert shown_auc(of([0.9] * 4 + [0.1], [0.2] * 5)) == "0.80?"
