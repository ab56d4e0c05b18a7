"""The laboratory's studies: what they compare, on which scores, and what they refuse."""

import asyncio
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from bank_models import EXPLORER, IDENTITY, PROBLEMS, ChanceScorer
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from once import once
from test_calibrate import agg_folder

from trim.cli.main import main
from trim.cli.studies import make_agg_trainer
from trim.configuration.source import models_in
from trim.errors import InvalidInput
from trim.evaluation import report as cells
from trim.evaluation.comparison import (
    Figures,
    PolicyOutcomes,
    Weights,
    direction,
    figures_of,
)
from trim.evaluation.evaluate import RunOptions, draw
from trim.models.model import Completion, Ending, Prefix
from trim.numerics import uniform
from trim.policies.pomdp.fit import LabelledTrajectory, fit_pomdp
from trim.policies.pomdp.model import write_model
from trim.policies.registry import parse_policies
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.collect import collect
from trim.rollouts.rescore import add_noise
from trim.scorers.noisy import NoisyScorer, noisy
from trim.shipped import FOLDER
from trim.studies import low_budget
from trim.studies.curves import budget_percent
from trim.studies.low_budget import densely, study_low_budget
from trim.studies.noise import areas, claim, study_noise, thresholds_for
from trim.studies.takeover import study_takeover
from trim.studies.transfer import overall, study_transfer, verdict_of
from trim.studies.trial import Results, Trial

texts = st.text("ab1 ", min_size=1, max_size=6)
prefixes = st.builds(Prefix, texts, st.lists(texts, min_size=1, max_size=5).map(tuple))
scores = st.floats(0.001, 0.999)
SETTINGS = (0.0, 0.5, 1.0)
THR = "thr:0.0,0.5,1.0"


def odds(score):
    return math.log(score / (1 - score))


def score_with(scorer, prefix, count):
    written = [Completion(step, Ending.STEP, 1, 0) for step in prefix.steps[-count:]]
    return asyncio.run(scorer.score(prefix, written))


@given(prefixes, st.integers(1, 5), st.floats(0, 5))
def test_noise_is_of_the_text_alone(prefix, count, sigma):
    """Steps that are scored together get what each gets by itself, and cost the same."""
    count = min(count, len(prefix.steps))
    noisy_scorer = NoisyScorer(ChanceScorer(), sigma)
    first = len(prefix.steps) - count + 1
    each = [
        score_with(noisy_scorer, Prefix(prefix.question, prefix.steps[:end]), 1).values[0]
        for end in range(first, len(prefix.steps) + 1)
    ]
    together = score_with(noisy_scorer, prefix, count)
    assert list(together.values) == each
    assert all(0 <= value <= 1 for value in each)
    assert together.prompt_tokens == score_with(ChanceScorer(), prefix, count).prompt_tokens


@given(prefixes, scores, scores, st.floats(0.1, 2))
def test_noise_is_added_to_log_odds(prefix, first, second, sigma):
    """As much at every score, and in proportion to sigma."""
    shift = odds(noisy(first, prefix, sigma)) - odds(first)
    assert odds(noisy(second, prefix, sigma)) - odds(second) == pytest.approx(shift, abs=1e-4)
    doubled = odds(noisy(first, prefix, 2 * sigma)) - odds(first)
    assert doubled == pytest.approx(2 * shift, abs=1e-4)
    assert noisy(first, prefix, 0) == first


def test_noise_is_gaussian():
    shifts = [odds(noisy(0.5, Prefix("q", (str(index),)), 2)) for index in range(4000)]
    assert abs(np.mean(shifts)) < 0.1
    assert np.std(shifts) == pytest.approx(2, rel=0.05)
    assert np.mean(np.abs(shifts) < 2) == pytest.approx(0.683, abs=0.03)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_certain_scores_stay_scores(score):
    assert 0 <= noisy(score, Prefix("q", ("a",)), 50) <= 1


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_a_negative_or_endless_noise_is_refused(sigma):
    with pytest.raises(InvalidInput, match="standard deviation"):
        NoisyScorer(ChanceScorer(), sigma)
    with pytest.raises(InvalidInput, match="standard deviation"):
        add_noise(bank_of(ChanceScorer(), PROBLEMS[:1]), sigma)


def bank_of(scorer, problems):
    explorer = replace(EXPLORER, scorer=scorer)
    return Bank(IDENTITY, tuple(asyncio.run(explorer.explore(p)) for p in problems))


@settings(max_examples=15)
@given(st.sampled_from(PROBLEMS), st.sampled_from([0.0, 1.0, 4.0]))
def test_a_degraded_bank_is_what_a_noisy_scorer_would_have_recorded(problem, sigma):
    recorded = bank_of(ChanceScorer(), [problem])
    assert add_noise(recorded, sigma) == bank_of(NoisyScorer(ChanceScorer(), sigma), [problem])


@given(st.lists(st.floats(-1, 1), min_size=50, max_size=50), st.floats(-0.5, 0.5))
def test_a_difference_stands_where_its_interval_says(draws, value):
    values = np.array([value, *(value + 0.1 * draw for draw in draws)])
    low, high = np.quantile(values[1:], [0.025, 0.975])
    stand = direction(values)
    assert stand == ("ahead" if low > 0 else "behind" if high < 0 else "level")
    opposite = {"ahead": "behind", "behind": "ahead", "level": "level"}
    assert direction(-values) == opposite[stand]


def test_a_difference_is_shown_with_its_interval():
    values = np.array([0.012, *np.linspace(-0.004, 0.036, 1001)])
    assert cells.difference(values, 1, scale=100) == "+1.2 (−0.3 to 3.5)"
    assert cells.difference(np.full(9, math.nan)) == cells.percent(None) == "–"
    assert direction(np.full(9, math.nan)) == "not defined"


@pytest.fixture(scope="module")
def pomdp(tmp_path_factory):
    """A file of a router that is fitted to made-up solutions."""

    def trajectory(index):
        right = tuple(uniform("right", index, step) < 0.8 for step in range(4))
        noise = [0.3 * uniform("score", index, step) for step in range(4)]
        values = tuple((0.7 if ok else 0.0) + extra for ok, extra in zip(right, noise, strict=True))
        return LabelledTrajectory(values, (9,) * 4, (index % 2 == 1,) * 4, all(right), right)

    path = tmp_path_factory.mktemp("fitted") / "pomdp.json"
    write_model(path, fit_pomdp([trajectory(index) for index in range(80)]))
    return path


def prices(spec):
    return [policy.plan.problem.price for policy in parse_policies(spec)]


def test_a_low_budget_is_met_with_dense_prices(pomdp):
    """More of them, in the dearer half of the usual sweep, which is where little is spent."""
    usual = sorted(prices(f"pomdp:{pomdp}"))
    dense = prices(densely(f"pomdp:{pomdp}"))
    assert len(dense) == low_budget.SETTINGS
    assert dense == sorted(dense, reverse=True)
    assert dense[0] == usual[-1]
    assert usual[len(usual) // 2 - 1] <= dense[-1] <= usual[len(usual) // 2]


def test_a_router_of_single_prices_keeps_them(tmp_path):
    folder = agg_folder(tmp_path / "agg", {"weak": "a", "strong": "b"}, separate=True)
    assert densely(f"agg:{folder}") == f"agg:{folder}"


@pytest.mark.parametrize("spec", ["thr:0.5", "cascade:0.1,0.2", "pomdp:x.json@0.1,0.2"])
def test_settings_that_were_asked_for_stay(spec):
    assert densely(spec) == spec


def trial_on(suite, count):
    return Trial(draw(suite, count, 2), models_in(), RunOptions(seed=2))


def cells_of(page, title):
    """Rows of a page's table by their first cell."""
    (table,) = (table for table in page.tables if table.title == title)
    return {row[0]: row[1:] for row in table.rows}


def pictures_in(folder):
    return {path.stem for path in folder.glob("*.png")} & {p.stem for p in folder.glob("*.svg")}


def test_takeover_meets_the_models_alone_at_the_ends(tmp_path):
    """At k = 0 both are the weak model; at k = 1 takeover is the strong model alone."""
    page = study_takeover(trial_on("chain", 6), tmp_path, SETTINGS)
    summary = json.loads((tmp_path / "trial" / "summary.json").read_text())
    alone = {p["policy"]: p for p in summary["points"] if p["setting"] is None}
    right = cells_of(page, "Right at the same threshold")
    tokens = cells_of(page, "Strong tokens at the same threshold")
    weak, strong = (cells.percent(alone[name]["accuracy"]) for name in ("weak", "strong"))
    assert right["0"] == (weak, weak, "0.0 (0.0 to 0.0)")
    assert tokens["0"] == ("0.0", "0.0", "0.0 (0.0 to 0.0)")
    assert right["1"][1] == strong
    assert tokens["1"][1] == cells.number(alone["strong"]["strong_tokens_mean"], 1)
    assert pictures_in(tmp_path) == {"curve"}


def test_low_budget_compares_all_pairs_below_the_limit(tmp_path, pomdp):
    specs = [THR, f"pomdp:{pomdp}@0.02,0.001", "cascade:0.5"]
    page = study_low_budget(trial_on("chain", 6), specs, tmp_path, limit=0.2)
    budgets = [f"c = {share}.0 %" for share in (4, 8, 12, 16, 20)]
    assert list(cells_of(page, "Accuracy at a budget, and PGR")) == budgets
    (differences,) = (t for t in page.tables if t.title.startswith("Differences"))
    assert differences.columns[1:] == (
        "thr less pomdp",
        "thr less cascade",
        "pomdp less cascade",
    )
    assert cells_of(page, "Settings")["thr"][0] == "3"
    assert pictures_in(tmp_path) == {"curve"}


def test_transfer_gives_a_verdict_for_every_suite(tmp_path, pomdp):
    trials = [trial_on(suite, 2) for suite in ("words", "chain")]
    page = study_transfer(trials, [THR, f"pomdp:{pomdp}@0.02,0.001"], tmp_path)
    assert set(cells_of(page, "Less thr")) == {"words, pomdp", "chain, pomdp"}
    for suite in ("words", "chain"):
        assert any(note.startswith(f"{suite}: pomdp ") for note in page.notes)
    assert pictures_in(tmp_path) == {"words", "chain"}


def results_with(suite, pomdp, thr):
    """Results whose Δ-IBC and APGR have these values in the sample and in each resample."""
    figures = {
        family: Figures({"delta_ibc": np.array(values), "apgr": np.array(values)}, np.empty(0))
        for family, values in (("pomdp", pomdp), ("thr", thr))
    }
    return Results({"suite": suite}, figures, {}, {})


@pytest.mark.parametrize(
    ("draws", "said", "verdict"),
    [
        ((0.2, 0.1, 0.3), "at least equal to thr (ahead in Δ-IBC and APGR)", "suite: pomdp."),
        ((0.2, -0.1, 0.3), "at least equal to thr.", "suite: pomdp."),
        ((-0.2, -0.4, 0.1), "below thr in Δ-IBC and APGR", "none. Below it somewhere"),
        ((-0.2, -0.3, -0.1), "behind thr in Δ-IBC and APGR", "suite: none."),
        ((math.nan,) * 3, "cannot be compared", "suite: none."),
    ],
)
def test_a_router_is_at_least_equal_only_where_no_less_was_measured(draws, said, verdict):
    results = results_with("words", draws, (0.0, 0.0, 0.0))
    assert said in verdict_of(results)
    better = results_with("program", (1.0, 0.9, 1.1), (0.0, 0.0, 0.0))
    assert verdict in overall([better, results])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a bank."""

    def record(folder):
        collect(draw("chain", 20, 3), 3, folder, models_in(), rollouts=3)

    return once(tmp_path_factory, "recorded", record)


@pytest.fixture(scope="module")
def bank(recorded):
    return read_bank(recorded)


def test_noise_takes_a_bank_and_a_trial_to_the_same_scores(tmp_path, bank):
    """pomdp is fitted at every level; at none of them a setting of thr is missing."""
    page = study_noise(bank, trial_on("chain", 4), tmp_path, (0.0, 3.0))
    rows = cells_of(page, "Strong share that closes part of the gap")
    assert set(rows) == {"0, thr", "0, pomdp", "3, thr", "3, pomdp"}
    quality = cells_of(page, "AUC-ROC of the scores")
    assert float(quality["3"][0]) < float(quality["0"][0]) == round(areas(bank)[0], 3)
    models = [(tmp_path / f"sigma-{sigma}" / "pomdp.json").read_bytes() for sigma in (0, 3)]
    assert models[0] != models[1]
    thresholds = [policy.threshold for policy in parse_policies(thresholds_for(add_noise(bank, 3)))]
    drafts = [node.draft_score for problem in add_noise(bank, 3).problems for node in problem.nodes]
    assert min(drafts) <= thresholds[0] < np.quantile(drafts, 0.01)
    assert len(thresholds) >= 16
    runs = [json.loads((tmp_path / f"sigma-{s}" / "run.json").read_text()) for s in (0, 3)]
    assert [run["scorer"] for run in runs] == ["joint", "joint+noise:3"]
    assert any("agg is left out" in note for note in page.notes)
    with pytest.raises(InvalidInput, match="other routers"):
        claim(tmp_path, bank, True, 100)
    other = Bank(bank.identity, bank.problems[:-1])
    with pytest.raises(InvalidInput, match="another bank"):
        study_noise(other, trial_on("chain", 4), tmp_path, (0.0,))


def test_agg_is_trained_where_torch_is_there(tmp_path, bank):
    pytest.importorskip("torch")
    trial = trial_on("chain", 3)
    page = study_noise(bank, trial, tmp_path, (2.0,), make_agg_trainer(iterations=1))
    assert "2, agg" in cells_of(page, "Less thr")
    assert (tmp_path / "sigma-2" / "agg" / "agg.safetensors").exists()


def ablate(*words):
    return CliRunner().invoke(main, ["ablate", *map(str, words)])


def test_the_command_ends_in_a_report_and_continues(tmp_path):
    words = ("takeover", "chain", "-n", 4, "--thresholds", "0.3,0.8", "--out", tmp_path)
    first = ablate(*words)
    assert first.exit_code == 0, first.output
    assert "Takeover: chain, 4 problems, seed 0" in first.output
    html = (tmp_path / "report.html").read_text()
    assert "<svg" in html and "Right at the same threshold" in html
    traces = (tmp_path / "trial" / "traces.jsonl").read_bytes()
    lines = traces.splitlines(keepends=True)
    (tmp_path / "trial" / "traces.jsonl").write_bytes(b"".join(lines[:13]) + b'{"half')
    again = ablate(*words)
    assert again.exit_code == 0
    continued = (tmp_path / "trial" / "traces.jsonl").read_bytes()
    assert continued.startswith(b"".join(lines[:12]))
    assert len(continued.splitlines()) == len(lines)
    other = ablate(*words[:-2], "--seed", 5, "--out", tmp_path)
    assert other.exit_code == 2
    assert "holds another run" in other.output
    assert (tmp_path / "trial" / "traces.jsonl").read_bytes() == continued


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["takeover", "chians"], "unknown suite"),
        (["takeover", "chain", "-n", "0"], "at least one problem"),
        (["takeover", "chain", "--thresholds", "0.1,2"], "not a number from 0 to 1"),
        (["low-budget", "chain"], "name a router"),
        (["low-budget", "chain", "--policy", "thr:0.1"], "name a router"),
        (["low-budget", "chain", "--policy", "cascade:0.1", "--limit", "0"], "--limit"),
        (["low-budget", "chain", "--policy", "pomdp:missing.json"], "missing.json"),
        (["transfer"], "name routers"),
        (["transfer", "--policy", "cascade:0.1", "--suites", "words,no"], "benchmark 'no'"),
        (["transfer", "my.yaml", "--policy", "cascade:0.1"], "CONFIG follows SUITE"),
        (["takeover", "chain", "--budgets", "0,5"], "--budgets 0,5: give percentages"),
        (["takeover", "chain", "--budgets", "5,101"], "above 0 and up to 100"),
        (["low-budget", "chain", "--budgets", "5,nan"], "--budgets 5,nan"),
        (["low-budget", "chain", "--budgets", "5%"], "--budgets 5%"),
        (["low-budget", "chain", "--budgets", "5", "--limit", "0.1"], "only one of the two"),
        (["takeover", "chain", "missing.yaml"], "missing.yaml"),
        (["takeover", "missing.jsonl"], "name its fields"),
        (["takeover", "chain", "--question", "q"], "chain is a suite"),
        (["takeover", "chain", "--max-money", "1"], "needs prices"),
        (["takeover", "chain", "--set", "routing.max_steps=3"], "no configuration"),
        (["noise", "missing", "chain"], "missing"),
        (["noise", "missing", "chain", "--sigmas", "one"], "--sigmas"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(words, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ablate(*words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1 and result.output.startswith("trim: ")
    assert complaint in result.output
    assert not (tmp_path / "out").exists()


def test_a_bank_of_other_models_is_refused(tmp_path, bank):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("weak", "strong", "scorer"):
        (models / f"{name}.gguf").write_bytes((FOLDER / f"{name}.gguf").read_bytes())
    (models / "joint.json").write_bytes((FOLDER / "joint.json").read_bytes())
    (models / "weak.gguf").write_bytes(b"other")
    folder = tmp_path / "bank"
    collect(draw("chain", 1, 3), 3, folder, models_in(), rollouts=3)
    result = ablate("noise", folder, "chain", "--models", models, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "other models" in result.output
    assert not (tmp_path / "out").exists()


FIELDS = ("--question", "question", "--answer", "answer", "--id", "id", "--grader", "integer")
OF_FILE = (*FIELDS, "--instruction", "", "--seed", 2)
CONFIGURATION = FOLDER / "trim.yaml"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of problems that the shipped models can solve."""
    folder = tmp_path_factory.mktemp("files")
    for suite in ("chain", "words"):
        problems = draw(suite, 9, 11).problems
        lines = (
            json.dumps({"id": p.id, "question": p.question, "answer": p.answer}) for p in problems
        )
        (folder / f"my-{suite}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def summary_in(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_file_and_a_configuration_are_taken_as_by_eval(tmp_path, files):
    """Of the same file, takeover solves the problems that eval does, by the same models."""
    file = files / "my-chain.jsonl"
    chosen = (file, CONFIGURATION, *OF_FILE, "-n", 4, "--skip", 3, "--set", "routing.max_steps=20")
    done = ablate("takeover", *chosen, "--thresholds", 0.9, "--budgets", "10,2.5",
                  "--prices", "example", "--out", tmp_path / "study")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Takeover: my-chain, 4 problems, seed 2" in done.output
    rows = [line.split("%")[0].strip() for line in done.output.splitlines() if " c = " in line]
    assert rows == ["c = 2.5", "c = 10.0"]
    policies = [word for spec in ("weak", "strong", "thr:0.9") for word in ("--policy", spec)]
    words = ("eval", *chosen, *policies, "--out", tmp_path / "run")
    assert CliRunner().invoke(main, [*map(str, words)]).exit_code == 0
    ours, theirs = (
        json.loads((tmp_path / folder / "run.json").read_text())
        for folder in ("study/trial", "run")
    )
    del ours["policies"], theirs["policies"]
    assert (
        ours == theirs and ours["skip"] == 3 and ours["configuration"]["routing"]["max_steps"] == 20
    )
    costs = summary_in(tmp_path / "study" / "trial")["curves"]["takeover"]["costs"]
    assert list(costs) == ["strong-tokens", "tokens-prefill", "money", "seconds"]
    assert costs["money"]["weak_share"] > 0
    other = ablate(
        "takeover", *chosen, "--skip", 4, "--thresholds", 0.9, "--out", tmp_path / "study"
    )
    assert other.exit_code == 2 and "holds another run" in other.output


@pytest.mark.parametrize(
    ("percent", "shown"),
    [(10, "10.0 %"), (2.5, "2.5 %"), (0.25, "0.25 %"), (0.04, "0.04 %"), (1e-5, "0.00001 %")],
)
def test_a_budget_is_shown_with_the_decimals_that_tell_it_apart(percent, shown):
    assert budget_percent(percent / 100) == shown


def test_low_budget_compares_at_the_given_budgets(tmp_path, files):
    done = ablate("low-budget", files / "my-chain.jsonl", CONFIGURATION, *OF_FILE, "-n", 3,
                  "--policy", "thr:0.3,0.9", "--policy", "takeover:0.5", "--budgets", "2,5,10",
                  "--out", tmp_path)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "At most 10.0 % strong tokens" in done.output
    for budget in ("2.0", "5.0", "10.0"):
        assert f"c = {budget} %" in done.output


def test_transfer_goes_from_file_to_file(tmp_path, files):
    names = ",".join(str(files / f"my-{suite}.jsonl") for suite in ("chain", "words"))
    done = ablate("transfer", names, CONFIGURATION, *OF_FILE, "-n", 2, "--policy", "takeover:0.5",
                  "--policy", "thr:0.9", "--out", tmp_path)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Transfer to my-chain, my-words" in done.output
    assert {"my-chain", "my-words"} <= pictures_in(tmp_path)
    assert summary_in(tmp_path / "my-words")["n"] == 2


def test_noise_takes_a_bank_of_the_same_configuration(tmp_path, files):
    """Its problems, other models and too few examples are refused before a file is written."""
    file, bank, out = files / "my-chain.jsonl", tmp_path / "bank", tmp_path / "out"
    words = ("collect", file, CONFIGURATION, *OF_FILE, "-n", 6, "--rollouts", 3, "--out", bank)
    assert CliRunner().invoke(main, [*map(str, words)]).exit_code == 0
    study = ("noise", bank, file, CONFIGURATION, *OF_FILE, "--sigmas", "3", "--out", out)
    for more, complaint in (
        (("-n", 4), "has seen 4 of the 4 problems"),
        (("--skip", 6), "examples of state"),
        (("--skip", 6, "--protocol", "authors"), "other models, or under another protocol"),
    ):
        refused = ablate(*study, *more)
        assert refused.exit_code == 2
        assert len(refused.output.splitlines()) == 1 and complaint in refused.output
        assert not out.exists()


def test_noise_goes_through_a_configuration(tmp_path, recorded):
    """The scores of a configuration's scorer get the noise; `thr` meets them."""
    words = ("noise", recorded, "chain", CONFIGURATION, "-n", 3, "--sigmas", "0,3",
             "--prices", "example", "--budgets", "2,10", "--out", tmp_path / "out")  # fmt: skip
    done = ablate(*words, "--iterations", 1)
    assert done.exit_code == 0, done.output
    run = json.loads((tmp_path / "out" / "sigma-3" / "run.json").read_text())
    assert run["scorer"] == "joint+noise:3" and "configuration" in run
    assert "3, pomdp" in done.output and "c = 2.0 %" in done.output
    traces = (tmp_path / "out" / "sigma-3" / "traces.jsonl").read_text().splitlines()
    names = {json.loads(line)["scorer"] for line in traces}
    assert names == {None, "joint+noise:3"}


def test_a_study_ends_at_its_cost_limit(tmp_path):
    result = ablate("takeover", "chain", CONFIGURATION, "-n", 4, "--thresholds", 0.9,
                    "--prices", "example", "--set", "routing.concurrency=1",
                    "--max-money", "0.000001", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 3, result.output
    assert "cost limit" in result.output
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("budgets", [(0.02,), (0.001, 0.5, 1.0)])
def test_accuracy_at_a_budget_is_exact(budgets):
    """Not read from the grid on which curves are compared."""
    families = {"thr": PolicyOutcomes(np.ones((1, 4)), np.full((1, 4), 0.04))}
    ends = (
        PolicyOutcomes(np.full((1, 4), right), np.full((1, 4), cost))
        for right, cost in ((0, 0), (1, 10))
    )
    figures = figures_of(families, *ends, Weights.draw(4, 3))
    reached = figures["thr"].accuracy_at(budgets)
    assert reached[0] == pytest.approx([min(1, budget / 0.004) for budget in budgets])
