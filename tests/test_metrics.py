"""Metrics against hand-computed values, general properties and the published sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trim.metrics import metrics
from trim.metrics.curve import Curve, interpolate
from trim.metrics.intervals import bootstrap_interval, paired_interval
from trim.metrics.metrics import delta_ibc, envelope, ibc, pgr

SWEEP = Path(__file__).parents[2] / "shared/data/reference/qwen2.5_1.5b_7b_math500_thr_sweep.jsonl"

# Not closer than a millionth: between neighbouring floats there is no room for a line.
shares = st.integers(1_000, 2_000_000).map(lambda millionths: millionths / 1e6)
accuracies = st.floats(0, 1)
point_lists = st.lists(st.tuples(shares, accuracies), max_size=12).map(tuple)
percentages = st.floats(0, 1)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    weak = draw(st.floats(0, 0.5))
    strong = weak + draw(st.floats(0.05, 0.5))
    return Curve(weak, strong, draw(st.floats(1, 1e4)), draw(point_lists))


# PGR .5 at c = .1, .25 at c = .2 and 1 at c = .4.
HAND = Curve(0.4, 0.8, 200.0, ((0.4, 0.8), (0.1, 0.6), (0.2, 0.5)))


def test_pgr_and_ibc_of_one_point() -> None:
    assert pgr(0.6, 0.4, 0.8) == pytest.approx(0.5)
    assert pgr(0.6, 0.8, 0.8) is None
    assert ibc(0.6, 0.4, 20) == pytest.approx(0.01)
    assert ibc(0.6, 0.4, 0) is None


def test_cpt_by_hand() -> None:
    assert HAND.cpt(0) == 0
    assert HAND.cpt(0.25) == pytest.approx(0.05)
    assert HAND.cpt(0.5) == pytest.approx(0.1)
    # .8 is 0.55 / 0.75 of the way from (.2, .25) to (.4, 1).
    assert HAND.cpt(0.8) == pytest.approx(0.2 + 0.2 * 0.55 / 0.75)
    assert HAND.cpt_tokens(0.5) == pytest.approx(20)
    assert HAND.cpt(1.01) is None


def test_apgr_by_hand() -> None:
    trapezoids = 0.1 * 0.25 + 0.1 * 0.375 + 0.2 * 0.625 + 0.6 * 1
    assert HAND.apgr() == pytest.approx(trapezoids)


def test_delta_ibc_by_hand() -> None:
    # Up to .5 the ratio is .5 / .1; from there c = .2 + .2 * (p - .25) / .75.
    above = [0.505 + 0.01 * i for i in range(50)]
    ratios = [5.0] * 50 + [p / (0.2 + 0.2 * (p - 0.25) / 0.75) for p in above]
    assert HAND.delta_ibc() == pytest.approx(sum(ratios) / 100 - 1)


def test_budgeted_accuracy_by_hand() -> None:
    assert HAND.at_budget(0.15) == pytest.approx({"accuracy": 0.55, "pgr": 0.375})
    assert HAND.at_budget(0.3) == pytest.approx({"accuracy": 0.65, "pgr": 0.625})


def test_summary_names_every_metric() -> None:
    summary = HAND.summary()
    assert list(summary["cpt"]) == ["50", "80", "95"]
    assert list(summary["budgeted_accuracy"]) == ["10", "15", "20", "25", "30"]
    assert summary["cpt"]["50"] == HAND.cpt(0.5)
    assert summary["apgr"] == HAND.apgr()
    assert summary["delta_ibc"] == HAND.delta_ibc()


def test_strong_not_better_leaves_metrics_undefined() -> None:
    for strong in (0.5, 0.4):
        curve = Curve(0.5, strong, 100, ((0.2, 0.6),))
        assert curve.cpt(0.5) is curve.cpt_tokens(0.5) is None
        assert curve.delta_ibc() is curve.apgr() is None
        assert curve.at_budget(0.2) == {"accuracy": None, "pgr": None}


def test_cost_above_one_counts_only_up_to_one() -> None:
    curve = Curve(0.4, 0.8, 100, ((1.5, 0.9),))
    assert curve.apgr() == pytest.approx(0.5)
    assert curve.cpt(1.25) == pytest.approx(1.5)
    assert curve.at_budget(1.25)["accuracy"] == pytest.approx(0.85)


def test_no_cost_is_the_weak_model_alone() -> None:
    lucky = Curve(0.4, 0.8, 100, ((0, 0.45), (0, 0.3)))
    assert lucky.summary() == Curve(0.4, 0.8, 100, ()).summary()


@pytest.mark.parametrize("cost", [-0.1, math.nan, math.inf])
def test_impossible_cost_is_refused(cost: float) -> None:
    with pytest.raises(ValueError, match="cost"):
        Curve(0.4, 0.8, 100, ((cost, 0.5),))


@given(st.lists(shares.filter(lambda c: c <= 1), max_size=8), percentages)
def test_diagonal(costs: list[float], gain: float) -> None:
    curve = Curve(0.3, 0.7, 100, tuple((c, 0.3 + 0.4 * c) for c in costs))
    assert curve.apgr() == pytest.approx(0.5)
    assert curve.delta_ibc() == pytest.approx(0, abs=1e-9)
    assert curve.cpt(gain) == pytest.approx(gain, abs=1e-9)
    assert curve.at_budget(0.2)["pgr"] == pytest.approx(0.2)


@given(curves(), percentages, percentages)
def test_more_performance_never_costs_less(curve: Curve, one: float, other: float) -> None:
    low, high = curve.cpt(min(one, other)), curve.cpt(max(one, other))
    assert low is not None and high is not None
    assert 0 <= low <= high <= 1


@given(curves(), percentages)
def test_curve_has_the_performance_of_its_cpt(curve: Curve, gain: float) -> None:
    cost = curve.cpt(gain)
    assert cost is not None
    assert curve.at_budget(cost)["pgr"] == pytest.approx(gain, abs=1e-6)


@given(curves())
def test_ends_are_the_models_alone(curve: Curve) -> None:
    assert curve.at_budget(0)["accuracy"] == pytest.approx(curve.weak_accuracy)
    at_one = curve.at_budget(1)["accuracy"]
    assert at_one is not None and at_one >= curve.strong_accuracy - 1e-9


@given(curves())
def test_order_of_points_does_not_matter(curve: Curve) -> None:
    backwards = Curve(
        curve.weak_accuracy, curve.strong_accuracy, curve.strong_tokens_mean, curve.points[::-1]
    )
    assert backwards.summary() == curve.summary()


@given(curves(), st.floats(0, 0.2))
def test_better_points_make_better_metrics(curve: Curve, better: float) -> None:
    improved = Curve(
        curve.weak_accuracy,
        curve.strong_accuracy,
        curve.strong_tokens_mean,
        tuple((c, accuracy + better) for c, accuracy in curve.points),
    )
    before, after = curve.apgr(), improved.apgr()
    assert before is not None and after is not None and after >= before - 1e-9
    slow, fast = curve.cpt(0.8), improved.cpt(0.8)
    assert slow is not None and fast is not None and fast <= slow + 1e-9


def line_of(
    points: tuple[tuple[float, float], ...], weak_cost: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Costs and gains of points of accuracy 0 to 1, between models that solve 0.25 and 0.75."""
    costs, accuracy = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return interpolate(costs, accuracy, np.array(0.25), np.array(0.75), np.array(weak_cost))


@given(point_lists)
def test_envelope_is_the_least_concave_curve_above_the_line(points: tuple) -> None:
    costs, gains = line_of(points)
    above = envelope(costs, gains)
    assert np.all(above >= gains)
    assert np.all(np.diff(above) >= -1e-12)
    # Concave: nowhere below a chord between two of its points.
    for low in range(len(costs)):
        for high in range(low + 2, len(costs)):
            between = np.interp(costs[low:high], costs[[low, high]], above[[low, high]])
            if costs[low] < costs[high]:
                assert np.all(above[low:high] >= between - 1e-9)
    # Least: each of its points is on a chord of the line's points, or as high as an earlier one.
    for place in range(len(costs)):
        chords = [
            np.interp(costs[place], costs[[low, high]], gains[[low, high]])
            for low in range(place + 1)
            for high in range(place, len(costs))
            if costs[low] < costs[high]
        ]
        assert above[place] == pytest.approx(max([*chords, *gains[: place + 1]]), abs=1e-9)
    assert envelope(costs, above) == pytest.approx(above, abs=1e-9)


@given(curves())
def test_metrics_of_the_envelope_are_never_worse(curve: Curve) -> None:
    plain, best = curve.summary(), curve.summary()["envelope"]
    for gain, cost in plain["cpt"].items():
        assert best["cpt"][gain] <= cost + 1e-9
    for name in ("delta_ibc", "apgr"):
        assert best[name] >= plain[name] - 1e-9
    for budget, reached in plain["budgeted_accuracy"].items():
        assert best["budgeted_accuracy"][budget]["pgr"] >= reached["pgr"] - 1e-9
    again = curve.envelope.envelope
    assert again.cpt(0.8) == pytest.approx(best["cpt"]["80"], abs=1e-6)


def test_envelope_by_hand() -> None:
    # PGR .5 at c = .1 and 1 at c = .4; the setting at c = .2 lies below the chord.
    assert HAND.envelope.cpt(0.8) == pytest.approx(0.1 + 0.3 * 0.3 / 0.5)
    assert HAND.envelope.at_budget(0.2)["pgr"] == pytest.approx(0.5 + 0.5 / 3)
    falling = Curve(0.4, 0.8, 100, ((0.2, 0.88),)).envelope
    assert falling.at_budget(1)["pgr"] == pytest.approx(1.2)
    undefined = Curve(0.5, 0.4, 100, ((0.2, 0.6),))
    assert undefined.summary()["envelope"]["cpt"] == {"50": None, "80": None, "95": None}


@given(point_lists, st.floats(0, 20))
def test_what_every_policy_costs_besides_does_not_change_the_benefit(
    points: tuple, besides: float
) -> None:
    """Every c becomes (c + b) / (1 + b), that of the weak model b / (1 + b)."""
    costs, gains = line_of(points)
    moved = (costs + besides) / (1 + besides), gains
    found = delta_ibc(*moved, besides / (1 + besides))
    assert found == pytest.approx(float(delta_ibc(costs, gains)), rel=1e-4, abs=1e-6)
    least = (metrics.cpt(costs, gains, 0.8) + besides) / (1 + besides)
    assert float(metrics.cpt(*moved, 0.8)) == pytest.approx(float(least))


def test_benefit_is_undefined_where_a_gain_costs_nothing() -> None:
    # Cheaper than the weak model alone, and better.
    assert math.isnan(delta_ibc(*line_of(((0.1, 0.5), (0.6, 0.75)), 0.2), 0.2))
    # The strong model alone costs no more than the weak one.
    for weak_cost in (1.0, 1.5):
        assert math.isnan(delta_ibc(*line_of(((0.5, 0.5),), weak_cost), weak_cost))
    assert ibc(0.6, 0.4, 30, 10) == pytest.approx(0.01)
    assert ibc(0.6, 0.4, 10, 10) is None


def test_lines_are_measured_one_by_one() -> None:
    points = [((0.1, 0.6), (0.3, 0.5)), ((0.2, 0.3), (0.4, 0.9))]
    each = [line_of(chosen, weak) for chosen, weak in zip(points, (0.05, 0.1), strict=True)]
    costs, gains = (np.stack(parts) for parts in zip(*each, strict=True))
    assert envelope(costs, gains) == pytest.approx(np.stack([envelope(*line) for line in each]))
    together = delta_ibc(costs, gains, np.array([0.05, 0.1]))
    alone = [float(delta_ibc(*line, w)) for line, w in zip(each, (0.05, 0.1), strict=True)]
    assert together == pytest.approx(alone)


def published() -> Curve:
    """The authors' sweep: threshold 0 is the weak model alone (accuracy .364), threshold 1
    the strong model alone (accuracy .730, 494.84 tokens a problem)."""
    if not SWEEP.exists():
        pytest.skip(f"the published sweep is not at {SWEEP}")
    rows = [json.loads(line) for line in SWEEP.read_text().splitlines()]
    weak, strong = rows[0], rows[-1]
    assert (weak["threshold"], strong["threshold"]) == (0, 1)
    tokens = strong["avg_target_tokens_per_question"]
    points = tuple((r["avg_target_tokens_per_question"] / tokens, r["accuracy"]) for r in rows)
    return Curve(weak["accuracy"], strong["accuracy"], tokens, points)


def test_published_sweep_cpt() -> None:
    curve = published()
    # By hand from the rows (tokens, accuracy) on both sides of accuracy .547, .6568, .7117.
    between = {
        0.5: 70.684 + (98.218 - 70.684) * 0.039 / 0.040,
        0.8: 160.27 + (163.838 - 160.27) * 0.0228 / 0.040,
        0.95: 211.034 + (219.062 - 211.034) * 0.0517 / 0.054,
    }
    for gain, tokens in between.items():
        assert curve.cpt_tokens(gain) == pytest.approx(tokens)
        assert curve.cpt(gain) == pytest.approx(tokens / 494.84)
    assert curve.summary()["cpt"] == pytest.approx(
        {"50": 0.197093, "80": 0.327992, "95": 0.442002}, abs=1e-6
    )


def test_published_sweep_delta_ibc() -> None:
    curve = published()
    # The same by brute force: walk along the costs until the region's accuracy is reached.
    costs, accuracy_of = zip(*sorted(curve.points), strict=True)
    walk = np.linspace(0, 1, 200_001)
    highest = np.maximum.accumulate(np.interp(walk, costs, accuracy_of))
    middles = np.arange(0.005, 1, 0.01)
    least = walk[np.searchsorted(highest, 0.364 + middles * 0.366)]
    assert curve.delta_ibc() == pytest.approx(float(np.mean(middles / least)) - 1, rel=2e-3)
    assert curve.delta_ibc() == pytest.approx(1.641154, abs=1e-6)


def test_published_sweep_apgr_and_budgets() -> None:
    curve = published()
    assert curve.apgr() == pytest.approx(0.787339, abs=1e-6)
    # A tenth of the strong tokens lies on the way from nothing to threshold .05.
    assert curve.at_budget(0.1)["accuracy"] == pytest.approx(0.364 + 0.144 * 49.484 / 70.684)
    gains = [curve.at_budget(budget / 100)["pgr"] for budget in (10, 15, 20, 25, 30)]
    assert gains == pytest.approx([0.275439, 0.407502, 0.512813, 0.729415, 0.767979], abs=1e-6)


def test_interval_of_a_mean() -> None:
    values = np.repeat([0.0, 1.0], [40, 60])
    low, high = bootstrap_interval(values)
    normal = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert low == pytest.approx(0.6 - normal, abs=0.02)
    assert high == pytest.approx(0.6 + normal, abs=0.02)
    assert bootstrap_interval(values) == (low, high)


def test_interval_without_spread_has_no_width() -> None:
    assert bootstrap_interval([1.0]) == (1, 1)
    assert bootstrap_interval([0.5] * 20) == (0.5, 0.5)


def test_pairing_narrows_the_interval() -> None:
    hard = np.repeat([0.0, 1.0], 50)
    nearly = hard.copy()
    nearly[:5] = 1
    low, high = paired_interval(nearly, hard)
    assert 0 < low < 0.05 < high < 0.12
    assert paired_interval(hard, hard) == (0, 0)


def test_unusable_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="same shape"):
        paired_interval([1, 0], [1])
