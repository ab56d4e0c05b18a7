"""CPT and Delta-IBC in strong tokens, with prefill, in money and in seconds."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_summary import PRICES, SOLVED, alone, kept, rewritten, trace, validate

from trim.cli.main import main
from trim.costs import FREE, Price, Prices, payer
from trim.evaluation.cost_axes import AXES, PREFILL, STRONG_TOKENS, tokens_with_prefill
from trim.evaluation.summary import summarise
from trim.metrics.curve import Curve
from trim.types import Action, Author, Span, Step

SECONDS = {"weak": 2.0, "thr:0.5": 4.0, "strong": 10.0}
TIMED = {name: [replace(each, seconds=SECONDS[name]) for each in SOLVED[name]] for name in SECONDS}


def costs_of(solved=TIMED, prices=PRICES):
    return summarise("hand", 3, solved, prices)["curves"]["thr"]["costs"]


def benefit(axis):
    best = axis["envelope"]
    figures = (axis["delta_ibc"], best["delta_ibc"], axis["weak_share"])
    return [*axis["cpt"].values(), *best["cpt"].values(), *figures]


def test_the_default_axis_is_that_of_the_curve():
    figures = summarise("hand", 3, TIMED, PRICES)
    validate(figures)
    curve = figures["curves"]["thr"]
    axis = curve["costs"]["strong-tokens"]
    assert list(curve["costs"]) == [*AXES] and next(iter(AXES)) == STRONG_TOKENS.name
    assert (axis["strong_mean"], axis["weak_share"]) == (50, 0)
    assert axis["cpt"] == pytest.approx(curve["cpt"])
    assert axis["delta_ibc"] == pytest.approx(curve["delta_ibc"])
    assert axis["envelope"]["delta_ibc"] == pytest.approx(curve["envelope"]["delta_ibc"])
    assert axis["intervals"]["cpt"] == curve["intervals"]["cpt"]


def test_seconds_by_hand():
    """All of the gap at 4 of 10 seconds, 2 of which the weak model takes alone."""
    axis = costs_of()["seconds"]
    assert (axis["strong_mean"], axis["weak_share"]) == (10, pytest.approx(0.2))
    assert axis["cpt"] == pytest.approx({"50": 0.3, "80": 0.36, "95": 0.39})
    # PGR over (c - 0.2) / 0.8 is 4 everywhere on the way.
    assert axis["delta_ibc"] == pytest.approx(3)


def test_money_is_absent_without_prices_and_where_the_strong_model_is_free():
    assert "money" not in costs_of(prices=None)
    validate(summarise("hand", 3, TIMED, None))
    assert "money" not in costs_of(prices=Prices(strong=FREE))
    assert "seconds" not in costs_of(
        {name: [replace(each, seconds=0.0) for each in traces] for name, traces in TIMED.items()}
    )


def test_where_only_strong_tokens_are_paid_money_is_the_token_axis():
    output = Prices(weak=FREE, scorer=FREE, strong=Price(0, 0, 7))
    found = costs_of(prices=output)
    assert benefit(found["money"]) == pytest.approx(benefit(found["strong-tokens"]))


@pytest.fixture(scope="module")
def one():
    return costs_of()["seconds"]


@settings(max_examples=20)
@given(factor=st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(one, factor):
    slower = {
        name: [replace(each, seconds=factor * each.seconds) for each in traces]
        for name, traces in TIMED.items()
    }
    other = costs_of(slower)["seconds"]
    assert other["strong_mean"] == pytest.approx(factor * one["strong_mean"])
    assert other["cpt"] == pytest.approx(one["cpt"])
    assert other["delta_ibc"] == pytest.approx(one["delta_ibc"])


def test_a_weak_model_that_is_no_faster_leaves_the_benefit_undefined():
    slow = {**TIMED, "weak": [replace(each, seconds=12.0) for each in TIMED["weak"]]}
    axis = costs_of(slow)["seconds"]
    assert axis["weak_share"] == pytest.approx(1.2)
    assert axis["delta_ibc"] is None and axis["envelope"]["delta_ibc"] is None
    assert axis["cpt"]["95"] == pytest.approx(0.4)


def test_prefill_counts_in_the_solutions_of_other_models():
    span = Step(
        "a b", Author.STRONG, Action.REGENERATE, draft_tokens=2, strong_tokens=1,
        spans=(Span("a ", Author.WEAK, 1), Span("b", Author.STRONG, 1)),
    )  # fmt: skip
    for steps, factor in (
        ([alone(30), alone(20)], 1),
        ([rewritten(10, 30)], 1),
        ([rewritten(10, 30), kept(10)], PREFILL),
        ([span], PREFILL),
        ([kept(10)], 1),
    ):
        solution = trace("thr:0.5", 1, True, *steps)
        assert tokens_with_prefill(solution) == pytest.approx(factor * solution.strong_tokens)
    restarted = trace("cascade:0.5", 1, True, alone(30), abandoned=(kept(10),))
    assert tokens_with_prefill(restarted) == 30
    # Two of four solutions have a step of the weak model: 1.2 * 30 of 60 tokens.
    found = costs_of()
    share = (PREFILL * 30 + 30) / 200
    assert found["strong-tokens"]["cpt"]["95"] == pytest.approx(0.95 * 0.3)
    assert found["tokens-prefill"]["cpt"]["95"] == pytest.approx(0.95 * share)


def test_noisy_grades_are_paid_as_grades():
    assert payer("scorer", "grade+noise:2") == payer("scorer", "grade") == "strong"
    assert payer("scorer", "joint+noise:2") == payer("scorer", None) == "scorer"


def evaluated(*words):
    policies = ("--policy", "weak", "--policy", "strong", "--policy", "thr:0.5,0.9")
    command = ("eval", "chain", "-n", "6", *policies, *map(str, words))
    return CliRunner().invoke(main, command)


def test_the_table_is_shown_in_the_chosen_unit(tmp_path):
    """A finished run is shown in another unit by the same command."""
    priced = ("--prices", "example", "--out", tmp_path)
    first = evaluated(*priced)
    assert first.exit_code == 0, first.output
    assert "strong share that closes" in first.output and "envelope" in first.output
    traces = (tmp_path / "traces.jsonl").read_bytes()
    curve = json.loads((tmp_path / "summary.json").read_text())["curves"]["thr"]
    for name, axis in curve["costs"].items():
        shown = evaluated(*priced, "--cost", name)
        assert shown.exit_code == 0, shown.output
        for figures in (axis, axis["envelope"]):
            assert f"{figures['cpt']['80']:.1%}" in shown.output
    assert (tmp_path / "traces.jsonl").read_bytes() == traces
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in html for name in AXES)
    assert "waiting for the other policies" in html


def test_money_needs_prices(tmp_path):
    result = evaluated("--cost", "money", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "trim: --cost money: needs prices; add --prices FILE or --prices example"
    ]
    assert not (tmp_path / "out").exists()


@given(st.lists(st.tuples(st.floats(0.01, 1.5), st.floats(0, 1)), max_size=6))
def test_a_summary_has_the_metrics_of_both_curves(points):
    curve = Curve(0.2, 0.7, 100, tuple(points))
    found = curve.summary()
    assert found.pop("envelope").keys() == found.keys()
