"""Families compared on the same problems, and what an evaluation says of fitted files."""

import json
import math
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_pomdp_simulation import model as fitted_model
from test_report import SCHEMA, Page, make_summary, make_trace, report

from trim.cli.main import main
from trim.configuration.identity import identify_models
from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.evaluation.comparison import (
    Figures,
    PolicyOutcomes,
    Weights,
    budgets,
    compare,
    describe_comparisons,
    describe_intervals,
    figures_of,
    interval_of,
    rivals_of,
)
from trim.evaluation.evaluate import predictions_for
from trim.evaluation.provenance import require_same_models
from trim.evaluation.summary import split_name
from trim.metrics.curve import BUDGETS, GAINS, Curve
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.pomdp.simulate import predict
from trim.policies.registry import parse_all, parse_policies
from trim.policies.rivals.automix import VerifierTable, automix_record
from trim.policies.rivals.cascade import ScoreSummary
from trim.policies.rivals.classifier import TermModel, classifier_record
from trim.policies.threshold import Threshold
from trim.shipped import FOLDER

QUESTION = "Start with 47. 1) subtract 9. 2) last, add 17. What is the result?"


def outcomes(correct, tokens):
    return PolicyOutcomes(np.array(correct, dtype=float), np.array(tokens, dtype=float))


@st.composite
def runs(draw):
    """Weak, strong and two families of three settings on the same few problems."""
    n = draw(st.integers(2, 12))
    right = st.lists(st.integers(0, 1), min_size=n, max_size=n)
    spent = st.lists(st.integers(0, 30), min_size=n, max_size=n)

    def family(count):
        return outcomes(
            draw(st.lists(right, min_size=count, max_size=count)),
            draw(st.lists(spent, min_size=count, max_size=count)),
        )

    weak = outcomes([draw(right)], [[0] * n])
    strong = outcomes([draw(right)], [draw(st.lists(st.integers(1, 30), min_size=n, max_size=n))])
    return weak, strong, {"thr": family(3), "agg": family(3)}


def curve_on(problems, weak, strong, family):
    """The curve of a family on chosen problems, one at a time."""
    tokens = strong.costs[0, problems].mean()
    return Curve(
        weak.correct[0, problems].mean(),
        strong.correct[0, problems].mean(),
        tokens,
        tuple(
            (spent[problems].mean() / tokens, right[problems].mean())
            for right, spent in zip(family.correct, family.costs, strict=True)
        ),
    )


def metrics_of(curve):
    """Not a number where `Curve.summary` has None."""
    summary = curve.summary()
    named = {f"cpt {gain}": summary["cpt"][str(gain)] for gain in GAINS}
    named |= {name: summary[name] for name in ("delta_ibc", "apgr")}
    for budget in BUDGETS:
        named[f"accuracy {budget}"] = summary["budgeted_accuracy"][str(budget)]["accuracy"]
    return {name: math.nan if value is None else value for name, value in named.items()}


@settings(max_examples=60)
@given(runs(), st.integers(0, 5))
def test_every_resample_has_the_metrics_of_its_curve(run, seed):
    weak, strong, families = run
    weights = Weights.draw(weak.correct.shape[1], resamples=4, seed=seed)
    figures = figures_of(families, weak, strong, weights)
    for name, family in families.items():
        for row, counts in enumerate(weights.counts):
            problems = np.repeat(np.arange(len(counts)), counts.astype(int))
            curve = curve_on(problems, weak, strong, family)
            found = {metric: values[row] for metric, values in figures[name].values.items()}
            assert found == pytest.approx(metrics_of(curve), nan_ok=True, abs=1e-9)
            on_the_way = [curve.at_budget(budget)["accuracy"] for budget in budgets()[::40]]
            assert figures[name].accuracies[row, ::40] == pytest.approx(
                [math.nan if accuracy is None else accuracy for accuracy in on_the_way],
                nan_ok=True,
                abs=1e-9,
            )


def test_resamples_draw_as_many_problems_and_repeat_themselves():
    weights = Weights.draw(50, resamples=20, seed=3)
    assert np.array_equal(weights.counts[0], np.ones(50))
    assert np.array_equal(weights.counts.sum(axis=1), np.full(21, 50))
    assert np.array_equal(weights.counts, Weights.draw(50, resamples=20, seed=3).counts)
    assert not np.array_equal(weights.counts, Weights.draw(50, resamples=20, seed=4).counts)


def sample(*rates, n=400, seed=0, tokens=30):
    """Settings that are right at such rates, on what is hard for all of them alike."""
    difficulty = np.random.default_rng(seed).permutation(np.linspace(0, 1, n))
    return outcomes([difficulty < rate for rate in rates], np.full((len(rates), n), tokens))


def figures_for(**families):
    weak, strong = sample(0.3, tokens=0), sample(0.9, tokens=100)
    return figures_of(families, weak, strong, Weights.draw(400, resamples=200))


def test_a_family_is_never_behind_itself():
    figures = figures_for(thr=sample(0.6))["thr"]
    compared = compare(figures, figures)
    for figure in (*compared["cpt"].values(), compared["delta_ibc"], compared["apgr"]):
        assert figure == {"value": 0, "interval": [0, 0], "resamples_without": 0}
    assert compared["delta_ibc_ratio"]["interval"] == [1, 1]
    assert compared["shortfall"]["value"] == 0
    assert compared["shortfall"]["interval"] == [0, 0]


def test_a_better_family_is_ahead_by_what_can_be_counted():
    figures = figures_for(agg=sample(0.8), thr=sample(0.6))
    ahead = compare(figures["agg"], figures["thr"])
    assert ahead["shortfall"]["value"] == 0 and ahead["shortfall"]["interval"][0] == 0
    assert ahead["delta_ibc"]["interval"][0] > 0 and ahead["apgr"]["interval"][0] > 0
    assert ahead["cpt"]["80"]["interval"][1] < 0
    # At 30 % of the tokens one is right in 80 %, the other in 60 %.
    behind = compare(figures["thr"], figures["agg"])["shortfall"]
    assert behind["value"] == pytest.approx(0.2, abs=0.005)
    assert behind["budget"] == pytest.approx(0.3)
    assert 0.1 < behind["interval"][0] < 0.2 < behind["interval"][1] < 0.3
    assert ahead["budgeted_accuracy"]["30"]["value"] == pytest.approx(behind["value"])


def test_what_is_hard_for_both_does_not_widen_the_interval():
    nearly = outcomes(*[np.copy(part) for part in (sample(0.6).correct, sample(0.6).costs)])
    nearly.correct[0, :8] = 1
    figures = figures_for(agg=nearly, thr=sample(0.6))
    low, high = compare(figures["agg"], figures["thr"])["apgr"]["interval"]
    alone = describe_intervals(figures["thr"])["apgr"]
    assert high - low < (alone[1] - alone[0]) / 2


@settings(max_examples=30)
@given(runs())
def test_figures_and_intervals_fit_together(run):
    weak, strong, families = run
    figures = figures_of(families, weak, strong, Weights.draw(weak.correct.shape[1], 50))
    forwards = compare(figures["agg"], figures["thr"])
    backwards = compare(figures["thr"], figures["agg"])
    defined = strong.correct.mean() > weak.correct.mean()
    for name in ("delta_ibc", "apgr"):
        one, other = forwards[name], backwards[name]
        assert (one["value"] is not None) == defined
        assert one["resamples_without"] == other["resamples_without"]
        if defined:
            assert one["value"] == -other["value"]
        if one["interval"]:
            low, high = one["interval"]
            assert low <= high
            assert other["interval"] == pytest.approx([-high, -low])
    short = forwards["shortfall"]
    if defined:
        worst = figures["thr"].accuracies[0] - figures["agg"].accuracies[0]
        assert short["value"] == worst.max() >= 0
        assert worst[round(short["budget"] / 0.005)] == short["value"]
    if short["interval"]:
        assert 0 <= short["interval"][0] <= short["value"] <= short["interval"][1]


def test_a_strong_model_that_is_not_better_leaves_nothing_to_compare():
    same = sample(0.5)
    figures = figures_of({"thr": same, "agg": same}, same, same, Weights.draw(400, 10))
    (compared,) = describe_comparisons(figures)
    assert compared["delta_ibc"] == {"value": None, "interval": None, "resamples_without": 10}
    assert compared["shortfall"]["value"] is compared["shortfall"]["budget"] is None
    described = describe_intervals(figures["thr"])
    assert described["resamples"] == described["resamples_without"] == 10
    assert described["cpt"] == {"50": None, "80": None, "95": None}


def test_resamples_without_a_figure_are_counted():
    """Two of four problems tell the models apart: some resamples hold neither of them."""
    weak = outcomes([[0, 0, 1, 1]], [[0, 0, 0, 0]])
    strong = outcomes([[1, 1, 1, 1]], [[10, 10, 10, 10]])
    weights = Weights.draw(4, 400)
    alike = int((weights.counts[1:, :2].sum(axis=1) == 0).sum())
    figures = figures_of({"thr": strong}, weak, strong, weights)["thr"]
    assert describe_intervals(figures)["resamples_without"] == alike > 10
    # So many that an interval of the others would leave out one end.
    assert describe_intervals(figures)["apgr"] is None


def test_an_interval_is_that_of_the_resamples_that_have_a_figure():
    values = np.array([0.5, *np.linspace(0, 1, 1001), math.nan])
    assert interval_of(values) == pytest.approx((0.025, 0.975))
    assert interval_of(np.array([math.nan, 1, 2])) is None
    assert interval_of(np.array([1.0])) == (1, 1)


def test_the_ratio_needs_a_positive_base():
    figures = figures_for(agg=sample(0.8), thr=sample(0.35))
    assert figures["thr"].values["delta_ibc"][0] < 0
    compared = compare(figures["agg"], figures["thr"])
    assert compared["delta_ibc_ratio"]["value"] is None
    assert compared["delta_ibc_ratio"]["resamples_without"] > 0
    assert compared["delta_ibc"]["value"] > 0


def bare(delta_ibc):
    return Figures({"delta_ibc": np.array([delta_ibc])}, np.zeros((1, 1)))


def test_against_whom_families_are_compared():
    figures = {"agg": bare(2), "thr": bare(1), "cascade": bare(0.1), "automix(new)": bare(0.3)}
    assert rivals_of(figures) == ["thr", "automix(new)"]
    assert rivals_of({"agg": bare(2), "oracle": bare(9)}) == []
    full = figures_for(agg=sample(0.8), thr=sample(0.6), cascade=sample(0.4))
    pairs = [(entry["a"], entry["b"]) for entry in describe_comparisons(full)]
    assert pairs == [
        ("agg", "thr"),
        ("cascade", "thr"),
        ("agg", "cascade"),
        ("thr", "cascade"),
    ]


def write_classifier(path, **more):
    record = classifier_record(TermModel({"subtract": (1.0, 2.0)}, -1.0), (0.2, 0.6))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**record, **more}))
    return path


def names(*specs):
    return [policy.name for policy in parse_all(specs)]


def test_one_file_of_a_family_has_no_label(tmp_path):
    file = write_classifier(tmp_path / "chain.json")
    (tmp_path / "other").mkdir()
    again = tmp_path / "other" / ".." / "chain.json"
    once = ["classifier:0.2", "classifier:0.6"]
    assert names(f"classifier:{file}", f"classifier:{again}") == once
    assert names(f"classifier:{file}", f"classifier:{file}@0.4") == [*once, "classifier:0.4"]


def test_each_file_of_a_family_is_a_family(tmp_path):
    chain, hard = (write_classifier(tmp_path / name) for name in ("chain.json", "hard.json"))
    found = names("thr:0.5", f"classifier:{chain}@0.2", f"classifier:{hard}@0.6")
    assert found == ["thr:0.5", "classifier(chain):0.2", "classifier(hard):0.6"]
    assert split_name(found[-1]) == ("classifier(hard)", 0.6)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    files = [write_classifier(tmp_path / folder / "fit.json") for folder in ("a:b", "c")]
    found = names(*(f"classifier:{file}@0.2" for file in files))
    assert found == ["classifier(a-b/fit):0.2", "classifier(c/fit):0.2"]
    assert [split_name(name)[1] for name in found] == [0.2, 0.2]


OTHER = {"weak": "0" * 64, "strong": "0" * 64, "scorer": "0" * 64}


def test_only_the_models_that_a_policy_depends_on_count(tmp_path):
    here = identify_models(FOLDER)
    scorer_replaced = here | {"scorer": OTHER["scorer"]}
    table = VerifierTable(ScoreSummary.LOWEST, (0.5,), (0.5, 0.1), (100.0, 100.0))
    file = write_classifier(tmp_path / "fit.json", models=scorer_replaced)
    require_same_models(parse_policies(f"classifier:{file}"), models_in())
    for family, refused in (("automix", False), ("automix-prm", True)):
        path = tmp_path / f"{family}.json"
        record = automix_record(family, table) | {"models": scorer_replaced}
        path.write_text(json.dumps(record))
        policies = parse_policies(f"{family}:{path}")
        if refused:
            with pytest.raises(InvalidInput, match=r"other models \(scorer.gguf differs\)"):
                require_same_models(policies, models_in())
        else:
            require_same_models(policies, models_in())


def test_a_folder_without_weights_of_joint_scores_is_told_what_makes_them(tmp_path):
    for role in OTHER:
        (tmp_path / f"{role}.gguf").write_bytes(b"a model")
    table = VerifierTable(ScoreSummary.LOWEST, (0.5,), (0.5, 0.1), (100.0, 100.0))
    file = tmp_path / "automix-prm.json"
    record = automix_record("automix-prm", table) | {"models": OTHER, "scorer": "joint"}
    file.write_text(json.dumps(record))
    with pytest.raises(InvalidInput, match=r"joint\.json: .*trim fit-scorer BANK --out"):
        require_same_models(parse_policies(f"automix-prm:{file}"), models_in(tmp_path))


def test_files_that_name_no_models_and_policies_without_a_file_pass(tmp_path):
    older = write_classifier(tmp_path / "older.json")
    policies = [Threshold(0.5), *parse_policies(f"classifier:{older}")]
    require_same_models(policies, models_in(tmp_path / "no such folder"))


def test_models_said_in_another_way_are_refused(tmp_path):
    for models in (7, {"weak": 7}):
        file = write_classifier(tmp_path / "fit.json", models=models)
        with pytest.raises(InvalidInput, match="not a file that was fitted"):
            parse_policies(f"classifier:{file}")


def invoke(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_router_of_other_models_is_used_only_when_asked_for(tmp_path):
    fitted = fitted_model()
    of = {**OTHER, "kind": "prm"}
    model = PomdpModel(fitted.process, fitted.observations, fitted.belief, of)
    write_model(tmp_path / "pomdp.json", model)
    spec, out = f"pomdp:{tmp_path / 'pomdp.json'}@0.001", tmp_path / "run"
    for words in (
        ("solve", QUESTION, "--policy", spec),
        ("eval", "chain", "-n", 2, "--policy", spec, "--out", out),
    ):
        refused = invoke(*words)
        assert refused.exit_code == 2
        assert refused.stderr.splitlines()[-1] == (
            "trim: policy 'pomdp:0.001' was fitted to other models (weak.gguf, strong.gguf,"
            " scorer.gguf differ); fit it again, or add --other-models to use it anyway"
        )
    assert not out.exists()
    allowed = invoke("solve", QUESTION, "--policy", spec, "--other-models")
    assert allowed.exit_code == 0, allowed.stderr


def test_a_prediction_is_what_the_model_simulates(tmp_path):
    file = tmp_path / "pomdp.json"
    fitted = fitted_model()
    write_model(
        file, PomdpModel(fitted.process, fitted.observations, fitted.belief, {"kind": "prm"})
    )
    found = predict(file, "prm", "pomdp(here)", count=300)
    assert set(found["curves"]) == {"pomdp(here)", "thr", "random", "oracle"}
    assert {point["policy"] for point in found["points"]} == set(found["curves"])
    ends = [found[name] for name in ("weak_accuracy", "strong_accuracy", "strong_tokens_mean")]
    for family, curve in found["curves"].items():
        points = [point for point in found["points"] if point["policy"] == family]
        line = tuple((point["strong_share"], point["accuracy"]) for point in points)
        assert Curve(*ends, line).summary() == curve
    simulated = invoke("simulate", file, "-n", 300, "--json")
    assert json.loads(simulated.stdout)["curves"]["pomdp-newest"] == found["curves"]["pomdp(here)"]
    assert "thr" not in predict(file, "logprob", count=300)["curves"]


def test_only_models_of_the_pomdp_router_predict():
    assert predictions_for(["thr:0.5", "weak", "oracle"], "prm") == []


def predicted_summary(folder):
    write_model(folder / "pomdp.json", fitted_model())
    return make_summary() | {"predicted": [predict(folder / "pomdp.json", "prm", count=300)]}


@pytest.mark.pictures
def test_the_page_shows_comparisons_and_predictions(tmp_path):
    summary = predicted_summary(tmp_path)
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary)))
    html = report(tmp_path, summary, [make_trace("thr", 0.2)])
    page = Page(html)
    words = " ".join(page.text.split())
    (compared,) = summary["comparisons"]
    worst = compared["shortfall"]
    low, high = (100 * bound for bound in worst["interval"])
    assert f"{100 * worst['value']:.1f} {low:.1f} to {high:.1f}" in words
    (prediction,) = summary["predicted"]
    assert f"{100 * prediction['weak_accuracy']:.1f} %" in words
    assert f"{prediction['curves']['thr']['delta_ibc']:.2f}" in words
    # Predicted lines belong to families that were run, and the legend names each once.
    svg = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert svg.count(">predicted<") == svg.count(">thr<") == svg.count(">oracle<") == 1
    assert ">pomdp<" not in svg


def test_an_evaluation_tells_both(tmp_path, monkeypatch):
    monkeypatch.setattr("trim.evaluation.evaluate.predict", partial(predict, count=300))
    write_model(tmp_path / "pomdp.json", fitted_model())
    words = [f"--policy={spec}" for spec in ("weak", "strong", "thr:0.5,0.9", "random:0.3")]
    words.append(f"--policy=pomdp:{tmp_path / 'pomdp.json'}@0.001,0.003")
    ran = invoke("eval", "chain", "-n", 12, *words, "--seed", 2, "--out", tmp_path / "run")
    assert ran.exit_code == 0, ran.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    Draft202012Validator(SCHEMA).validate(summary)
    assert list(summary["curves"]) == ["thr", "random", "pomdp"]
    assert all("intervals" in curve for curve in summary["curves"].values())
    assert [(c["a"], c["b"]) for c in summary["comparisons"]] == [
        ("random", "thr"),
        ("pomdp", "thr"),
    ]
    assert [prediction["model"] for prediction in summary["predicted"]] == ["pomdp"]
    assert "difference from thr, with 95 % intervals" in ran.stdout
