"""First errors by EM: exact posteriors, a likelihood that never falls, and fits from outcomes."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_pomdp import labelled_problem, make_bank

from trim.cli.main import main
from trim.errors import InvalidInput
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.first_errors import (
    FEW_ERRORS,
    MANY_ERRORS,
    UNKNOWN,
    ErrorModel,
    Step,
    WrittenSteps,
    edges_of,
    find_errors,
    infer,
    log_density,
    maximize,
    start_tables,
    start_with,
)
from trim.policies.pomdp.fit import LabelledTrajectory, evidence_from_solutions, fit_evidence
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.observations import fit_observations
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import fit_bank, tree_steps
from trim.rollouts.store import BankStore

chances = st.floats(0.05, 0.95)
solved = st.tuples(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=6), st.booleans()
)


def trajectory(drawn):
    steps, correct = drawn
    scores, by_strong = zip(*steps, strict=True)
    return LabelledTrajectory(scores, (10,) * len(scores), by_strong, correct)


def paths(drawn):
    """Steps of solutions that share none."""
    steps = []
    for solution, correct in drawn:
        for place, (score, strong) in enumerate(solution):
            outcome = int(correct) if place == len(solution) - 1 else UNKNOWN
            steps.append(Step(len(steps) - 1 if place else -1, strong, score, outcome))
    return WrittenSteps.of(steps)


@st.composite
def trees(draw):
    """Two levels that share their first steps; the first rewrite may repeat the draft."""
    steps = [Step(-1, False, draw(st.floats(0, 1)))]
    twin = draw(st.sampled_from([-1, 0]))
    steps.append(Step(-1, True, draw(st.floats(0, 1)), twin=twin))
    for parent in (0,) if twin == 0 else (0, 1):
        for strong in (False, True):
            outcome = draw(st.sampled_from([UNKNOWN, 0, 1]))
            steps.append(Step(parent, strong, draw(st.floats(0, 1)), outcome))
    return steps


@st.composite
def error_models(draw):
    table = np.array(draw(st.lists(chances, min_size=9, max_size=9))).reshape(3, 3)
    accuracies = np.array([draw(chances), draw(chances)])
    edges, unseen = np.array([0.3, 0.7]), draw(st.sampled_from([0.0, 0.2]))
    return ErrorModel(accuracies, draw(chances), unseen, table / table.sum(axis=0), edges)


@given(trees(), error_models())
@settings(max_examples=60)
def test_the_posterior_is_the_sum_over_all_ways_in_which_texts_are_right_or_wrong(steps, model):
    """A text is right, wrong and seen, or wrong and unseen; after an error, only once."""
    texts = [i for i, step in enumerate(steps) if step.twin < 0]
    total, cases = 0.0, np.zeros((len(steps), 5))
    for drawn in product((0, 2, 4), repeat=len(texts)):
        own = dict(zip(texts, drawn, strict=True))
        weight, case = 1.0, {}
        for i, step in enumerate(steps):
            text = step.twin if step.twin >= 0 else i
            before = case[step.parent] if step.parent >= 0 else 0
            case[i] = own[text] if before == 0 else 1 if before in (1, 2) else 3
            accuracy = model.accuracies[int(step.by_strong)]
            if before:
                weight *= own[text] == 0
            else:
                weight *= accuracy if case[i] == 0 else 1 - accuracy
                if case[i] and step.twin < 0:
                    weight *= model.unseen if case[i] == 4 else 1 - model.unseen
            if step.twin < 0:
                place = int(np.searchsorted(model.edges, step.score, "right"))
                weight *= model.table[place, {1: 1, 2: 2}.get(case[i], 0)]
            if step.outcome != UNKNOWN:
                chance = {0: 1.0, 1: model.recovery, 2: model.recovery}.get(case[i], 0.0)
                weight *= chance if step.outcome else 1 - chance
        total += weight
        for i in range(len(steps)):
            cases[i, case[i]] += weight
    found = infer(WrittenSteps.of(steps), model)
    assert found.log_likelihood == pytest.approx(np.log(total), abs=1e-9)
    assert found.cases == pytest.approx(cases / total, abs=1e-9)
    assert found.states.sum(axis=1) == pytest.approx(np.ones(len(steps)))


@given(st.lists(solved, min_size=2, max_size=12))
@settings(max_examples=60)
def test_no_iteration_lowers_the_likelihood_and_nothing_is_nan(drawn):
    steps = paths(drawn)
    assume(0 < (steps.outcome == 1).sum() < steps.outcomes)
    found = find_errors(steps)
    gains = np.diff(found.history)
    assert np.all(gains >= -1e-7), gains
    assert np.all(np.isfinite(found.states)) and np.allclose(found.states.sum(axis=1), 1)
    assert np.all((found.model.accuracies > 0) & (found.model.accuracies < 1))
    assert 0 < found.model.recovery < 1 and np.all(found.model.table > 0)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_equal_scores_and_scores_at_the_ends_are_fitted(score):
    drawn = [([(score, bool(i % 2))] * 3, i % 3 > 0) for i in range(60)]
    found = find_errors(paths(drawn))
    assert np.all(np.isfinite(found.states)) and len(found.model.table) == 1
    fitted = fit_evidence(evidence_from_solutions([trajectory(each) for each in drawn]))
    assert np.allclose(fitted.observations.newest, fitted.observations.newest[:, :1], atol=1e-3)
    assert np.isfinite(log_density(paths(drawn), found.model))


@given(st.lists(solved, min_size=4, max_size=12), st.floats(0.2, 5), st.randoms())
@settings(max_examples=30)
def test_the_fit_depends_on_the_ranks_of_scores_alone_and_not_on_the_order(drawn, power, random):
    rounded = [([(round(s, 2), strong) for s, strong in steps], y) for steps, y in drawn]
    steps = paths(rounded)
    assume(0 < (steps.outcome == 1).sum() < steps.outcomes)
    found = find_errors(steps)
    bent = [([(s**power, strong) for s, strong in steps], y) for steps, y in rounded]
    assert find_errors(paths(bent)).states == pytest.approx(found.states, abs=1e-9)
    shuffled = random.sample(rounded, len(rounded))
    again = find_errors(paths(shuffled))
    assert again.model.accuracies == pytest.approx(found.model.accuracies, abs=1e-6)
    assert again.history[-1] == pytest.approx(found.history[-1], abs=1e-6)


def simulated(count, seed=0, weak=0.85, strong=0.97, recovery=0.2, unseen=0.0, later=(1.5, 2)):
    """Solutions of a known process, half by each model, and the states of their steps.

    Scores after an error are drawn from a Beta distribution with the parameters `later`.
    """
    random = np.random.default_rng(seed)
    solutions, states = [], []
    for index in range(count):
        by_strong = bool(index % 2)
        length = int(random.integers(3, 9))
        wrong = random.random(length) >= (strong if by_strong else weak)
        first = int(wrong.argmax()) if wrong.any() else length
        state = [0] * first + [2] * (first < length) + [1] * max(length - first - 1, 0)
        shape = {0: (8, 1), 1: later, 2: (1, 4)}
        hidden = bool(random.random() < unseen)
        scores = [float(random.beta(*shape[0 if hidden else each])) for each in state]
        correct = first == length or (not hidden and random.random() < recovery)
        solutions.append(([(score, by_strong) for score in scores], correct))
        states += state
    return solutions, np.array(states)


def test_the_process_that_made_the_solutions_is_found_from_outcomes():
    drawn, states = simulated(4000)
    found = find_errors(paths(drawn))
    assert found.model.accuracies == pytest.approx([0.85, 0.97], abs=0.015)
    assert found.model.recovery == pytest.approx(0.2, abs=0.04)
    assert found.model.unseen < 0.05
    # The posterior is calibrated: of steps with P(S2) about x, about x are in S2.
    likely = found.states[:, 2]
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 1.01)):
        among = (likely >= low) & (likely < high)
        assert among.sum() > 100
        assert (states[among] == 2).mean() == pytest.approx(likely[among].mean(), abs=0.1)
    fitted = fit_evidence(evidence_from_solutions([trajectory(each) for each in drawn]))
    by_labels = fit_observations(
        np.stack([states, paths(drawn).lowest, paths(drawn).score], axis=-1)
    )
    middles = by_labels.newest_scores
    expected = middles @ by_labels.newest
    assert fitted.observations.newest_scores @ fitted.observations.newest == pytest.approx(
        expected, abs=0.08
    )
    assert fitted.process.recovery == pytest.approx(0.2, abs=0.04)


def test_errors_that_the_scorer_does_not_see_are_found_from_wrong_answers():
    drawn, _ = simulated(6000, unseen=0.3)
    model = find_errors(paths(drawn)).model
    assert model.unseen == pytest.approx(0.3, abs=0.06)
    assert model.accuracies == pytest.approx([0.85, 0.97], abs=0.015)
    assert model.recovery == pytest.approx(0.2, abs=0.05)


def test_all_starts_end_at_the_same_place():
    steps = paths(simulated(1000)[0])
    edges = edges_of(steps.score)
    ends = [
        maximize(steps, start_with(table, edges), fit_scores=True)
        for table in start_tables(len(edges) + 1)
    ]
    assert len(ends) > 1
    for end in ends:
        assert end.history[-1] == pytest.approx(ends[0].history[-1], abs=0.5)
        assert end.model.accuracies == pytest.approx(ends[0].model.accuracies, abs=0.002)


def test_where_starts_end_at_different_places_the_likeliest_counts():
    """Few solutions, whose scores are high again after an error."""
    gains = []
    for seed in range(10):
        steps = paths(simulated(60, seed, weak=0.9, recovery=0.4, later=(8, 1))[0])
        edges = edges_of(steps.score[steps.is_first])
        ends = [
            maximize(steps, start_with(table, edges, chances), fit_scores=True).history[-1]
            for chances in (MANY_ERRORS, FEW_ERRORS)
            for table in start_tables(len(edges) + 1)
        ]
        assert find_errors(steps).history[-1] == max(ends)
        gains.append(max(ends) - max(ends[:2]))
    assert max(gains) > 1


def test_held_out_solutions_are_likelier_by_em_than_by_a_rule_on_their_scores():
    """The rule: the first error of a wrong answer is its first score below 0.35, or its lowest."""
    known, held_out = (paths(simulated(1500, seed)[0]) for seed in (1, 2))
    found = find_errors(known)
    states = []
    for solution, correct in simulated(1500, 1)[0]:
        scores = [score for score, _ in solution]
        low = [i for i, score in enumerate(scores) if score < 0.35]
        first = low[0] if low else scores.index(min(scores))
        first = len(scores) if correct else first
        states += [0 if i < first else 2 if i == first else 1 for i in range(len(scores))]
    by_rule = np.eye(3)[states]
    counts = [
        np.bincount(found.model.bins(known.score), by_rule[:, s], minlength=len(found.model.table))
        for s in range(3)
    ]
    table = np.stack(counts, axis=-1) + 0.5
    right = [
        by_rule[author, 0].sum() / by_rule[author][:, [0, 2]].sum()
        for author in (~known.by_strong, known.by_strong)
    ]
    rule = ErrorModel(np.array(right), 1e-9, 1e-9, table / table.sum(axis=0), found.model.edges)
    assert log_density(held_out, found.model) > log_density(held_out, rule) + 0.05 * 1500


def test_known_densities_are_kept():
    drawn, states = simulated(2000)
    steps = paths(drawn)
    known = fit_observations(np.stack([states, steps.lowest, steps.score], axis=-1))
    found = find_errors(steps, known)
    assert np.allclose(found.model.table, known.newest, atol=1e-9)
    assert found.model.accuracies == pytest.approx([0.85, 0.97], abs=0.015)


@pytest.mark.parametrize(
    ("correct", "message"), [(True, "all 20 answers are right"), (False, "no answer is right")]
)
def test_outcomes_that_are_all_alike_are_refused(correct, message):
    with pytest.raises(InvalidInput, match=message):
        find_errors(paths([([(0.9, False), (0.2, True)], correct)] * 20))


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def refusal(ran):
    assert ran.exit_code == 2, ran.output
    assert ran.stderr.startswith("trim: ") and ran.stderr.count("\n") == 1
    return ran.stderr


def unlabelled(count=40):
    return [labelled_problem(index, label=False) for index in range(count)]


def test_a_fit_names_the_origin_of_its_observations(tmp_path):
    make_bank(tmp_path / "bank", unlabelled())
    out = tmp_path / "pomdp.json"
    ran = run("fit", tmp_path / "bank", "--out", out, "--belief", "newest")
    assert ran.exit_code == 0, ran.output
    assert "by EM from 160 answers" in ran.stdout and "held-out log-likelihood" in ran.stdout
    assert "of errors harmless" in ran.stdout
    source = read_model(out).source
    assert (source["from"], source["outcomes"]) == ("outcomes", 160)
    assert np.isfinite(source["log_likelihood"]) and 0 <= source["unseen"] < 1
    # Files of earlier versions have no source.
    record = json.loads(out.read_text())
    del record["source"]
    out.write_text(json.dumps(record))
    assert read_model(out).source == {}


@pytest.mark.parametrize("leaf", [-1, -2])
def test_a_bank_of_right_or_of_wrong_answers_alone_is_refused(tmp_path, leaf):
    problems = []
    for problem in unlabelled():
        nodes = tuple(
            replace(
                node,
                continue_to=leaf if node.continue_to < 0 else node.continue_to,
                regenerate_to=leaf if node.regenerate_to < 0 else node.regenerate_to,
            )
            for node in problem.nodes
        )
        problems.append(replace(problem, nodes=nodes))
    make_bank(tmp_path / "bank", problems)
    line = refusal(run("fit", tmp_path / "bank", "--out", tmp_path / "pomdp.json"))
    assert "right; without labels" in line and "add problems" in line
    assert not (tmp_path / "pomdp.json").exists()


HEADER = "state,min_previous_score,current_score"


def write_csv(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def scored_rows():
    random = np.random.default_rng(0)
    return [
        f"{state},{low:.4f},{score:.4f}"
        for state, power in ((0, 0.2), (1, 2), (2, 4))
        for low, score in random.random((30, 2)) ** power
    ]


def test_densities_come_from_a_csv_or_a_labelled_bank_and_all_else_from_the_bank(tmp_path):
    make_bank(tmp_path / "bank", unlabelled())
    labelled = make_bank(tmp_path / "labelled", [labelled_problem(i) for i in range(100, 140)])
    csv = write_csv(tmp_path / "rows.csv", scored_rows())
    out = tmp_path / "pomdp.json"
    options = ("--out", out, "--belief", "newest", "--observations")
    by_csv = run("fit", tmp_path / "bank", *options, csv)
    assert by_csv.exit_code == 0, by_csv.output
    assert f"observations from 90 examples in {csv}" in by_csv.stdout
    rows = np.array([[float(each) for each in row.split(",")] for row in scored_rows()])
    assert np.allclose(read_model(out).observations.newest, fit_observations(rows).newest)
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes())
    assert run("fit", tmp_path / "bank", *options, csv).stdout == by_csv.stdout
    by_bank = run("fit", tmp_path / "bank", *options, tmp_path / "labelled")
    assert by_bank.exit_code == 0, by_bank.output
    model, of_labels = read_model(out), fit_bank(labelled, BeliefKind.NEWEST)
    assert np.allclose(model.observations.newest, of_labels.observations.newest)
    assert np.allclose(model.process.hazard, of_labels.process.hazard)
    assert model.source["observations"] == str(tmp_path / "labelled")


@pytest.mark.parametrize("name", ["labels", "outcomes"])
def test_a_bank_of_observations_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make_bank(Path("bank"), unlabelled())
    make_bank(Path(name), [labelled_problem(i) for i in range(100, 140)])
    words = ("bank", "--out", "pomdp.json", "--belief", "newest", "--observations", name)
    done = run("fit", *words)
    assert done.exit_code == 0, done.output
    assert f"observations from 240 examples in {name}, wrong steps by EM from" in done.stdout


def test_labelled_banks_may_lack_the_strong_model_and_labels_after_the_first_error(tmp_path):
    """Its solutions alone cannot be fitted, but their densities serve another bank."""
    problems = []
    for index in range(12):
        plain = labelled_problem(index)
        first, second, _ = (
            replace(node, strong=None, strong_score=None, strong_right=None, regenerate_to=-3)
            for node in plain.nodes
        )
        right = index % 2 == 0
        nodes = (
            replace(first, draft_right=right, draft_score=0.9 if right else 0.1),
            replace(second, draft_right=True if right else None),
        )
        rollout = replace(plain.rollouts[0], correct=right)
        problems.append(replace(plain, nodes=nodes, rollouts=(rollout,)))
    folder = tmp_path / "labelled"
    make_bank(folder, problems)
    make_bank(tmp_path / "bank", unlabelled())
    assert len(tree_steps(read_bank(folder))) == 24
    out = tmp_path / "pomdp.json"
    few = refusal(run("fit", tmp_path / "bank", "--out", out, "--observations", folder))
    assert f"{folder}: 6 examples of state S1" in few
    line = refusal(run("fit", folder, "--out", out))
    assert "the strong model's steps have no scores" in line and not out.exists()


def test_observations_that_do_not_fit_are_refused(tmp_path):
    make_bank(tmp_path / "bank", unlabelled())
    make_bank(tmp_path / "labelled", [labelled_problem(index) for index in range(40)])
    rows, out = scored_rows(), tmp_path / "pomdp.json"
    for name, content, message in (
        ("header", ["0,1,1"], "line 1: not the header of a table of the numbers state,"),
        ("text", [*rows[:3], "0,high,0.5"], "line 5: not a row of a table"),
        ("short", [rows[0], "0,0.5"], "line 3: not a row"),
        ("state", [rows[0], "3,0.5,0.5"], "line 3: a state must be 0, 1 or 2"),
        ("score", [*rows, "1,0.5,1.5"], "line 92: scores are in [0, 1]"),
        ("states", rows[:60], "states.csv: 0 examples of state S2"),
        ("empty", [], "no rows"),
    ):
        header = "label,previous,score" if name == "header" else HEADER
        path = write_csv(tmp_path / f"{name}.csv", content, header)
        line = refusal(run("fit", tmp_path / "bank", "--out", out, "--observations", path))
        assert str(path) in line and message in line, line
    for path, message in (
        (tmp_path / "bank", "its steps have no labels"),
        (tmp_path / "nothing", "not a bank"),
        (tmp_path / "nothing.csv", "cannot be read"),
    ):
        line = refusal(run("fit", tmp_path / "bank", "--out", out, "--observations", path))
        assert str(path) in line and message in line, line
    assert not out.exists()


def test_observations_are_of_the_same_scorer(tmp_path):
    bank = make_bank(tmp_path / "bank", unlabelled())
    problems = [labelled_problem(index) for index in range(40)]

    def labelled(name, **changes):
        store = BankStore(tmp_path / name, replace(bank.identity, **changes))
        for problem in problems:
            store.add(problem)
        store.flush()
        return tmp_path / name

    other_kind = labelled("kind", scorer="logprob")
    out = tmp_path / "pomdp.json"
    line = refusal(run("fit", tmp_path / "bank", "--out", out, "--observations", other_kind))
    assert "scores of kind 'logprob'" in line and "kind 'prm'" in line
    other_name = labelled("name", models={**bank.identity.models, "scorer": "another"})
    options = ("--belief", "newest", "--out", out, "--observations", other_name)
    ran = run("fit", tmp_path / "bank", *options)
    assert ran.exit_code == 0 and "warning" in ran.stderr and "another" in ran.stderr
