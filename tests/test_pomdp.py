"""The POMDP router: what is fitted, what is believed, what is decided."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.errors import InvalidInput
from trim.policies.pomdp.belief import BeliefFilter, BeliefKind
from trim.policies.pomdp.first_errors import Step, WrittenSteps
from trim.policies.pomdp.fit import (
    Evidence,
    LabelledTrajectory,
    evidence_from_solutions,
    evidence_from_steps,
    fit_evidence,
    fit_pomdp,
)
from trim.policies.pomdp.model import PomdpModel, read_model, write_model
from trim.policies.pomdp.observations import Observations, fit_observations, reflected_density
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import PomdpPolicy, read_pomdp
from trim.policies.pomdp.process import STEPS, process_from_accuracies
from trim.policies.ppo.trees import LEAF_RIGHT, LEAF_WRONG
from trim.policies.registry import parse_policies
from trim.rollouts.bank import read_bank
from trim.rollouts.fit import apgr_by_belief, best_belief_kind, evidence_from_bank
from trim.rollouts.identity import Identity
from trim.rollouts.record import (
    Node,
    RecordedProblem,
    Rollout,
    RolloutOrigin,
    SoloSolution,
    SoloStep,
)
from trim.rollouts.store import BankStore
from trim.types import Action, Observation

chances = st.floats(0.05, 0.95)
scores = st.floats(0, 1)


def hazard():
    chance = np.full(STEPS + 1, 0.25)
    chance[:2], chance[STEPS] = 0, 1
    return chance


def observations(seed=0, bins=4):
    random = np.random.default_rng(seed)
    pairs, newest = random.random((bins, bins, 3)) + 0.05, random.random((bins, 3)) + 0.05
    return Observations(pairs / pairs.sum(axis=(0, 1)), newest / newest.sum(axis=0))


def model(weak=0.8, strong=0.95, belief=BeliefKind.NEWEST, seed=0):
    process = process_from_accuracies(weak, strong, hazard(), 40)
    return PomdpModel(process, observations(seed), belief, {"kind": "prm"})


def telling():
    """Scores that give right steps away: high if the newest is right, else low."""
    newest = np.array([[0.02, 0.9, 0.9], [0.98, 0.1, 0.1]])
    return Observations(newest[None, :, :] * np.array([0.5, 0.5])[:, None, None], newest)


def observe(scores, actions=(), tokens=10, last=False):
    steps = ("a step",) * len(scores)
    counts = (10,) * (len(scores) - 1) + (tokens,)
    return Observation("what?", steps, tuple(scores), counts, tuple(actions), 0, last)


@given(st.lists(st.tuples(scores, st.booleans()), min_size=1, max_size=5), chances, chances)
def test_a_filter_gives_the_posterior_over_all_paths_of_states(steps, weak, strong):
    """Against the sum over every path: kept states move by the action's author."""
    fitted = model(weak, strong)
    process, table = fitted.process, fitted.observations.newest
    values = [score for score, _ in steps]
    rewritten = [strong for _, strong in steps[:-1]]
    likely = [table[min(int(value * 4), 3)] for value in values]
    joint = {s: process.initial_belief[s] for s in range(3)}
    for i, was_rewritten in enumerate([*rewritten, False]):
        if was_rewritten:
            joint = {s: sum(joint[r] * process.rewriting[r, s] for r in range(3)) for s in range(3)}
        joint = {s: joint[s] * likely[i][s] for s in range(3)}
        if i < len(rewritten):
            joint = {s: sum(joint[r] * process.drafting[r, s] for r in range(3)) for s in range(3)}
    expected = np.array([joint[s] for s in range(3)]) / sum(joint.values())
    assert fitted.filter().belief(values, rewritten) == pytest.approx(expected, abs=1e-9)


@given(st.lists(scores, min_size=1, max_size=30), st.sampled_from(list(BeliefKind)))
def test_beliefs_are_distributions(values, kind):
    belief = model().filter(kind).belief(values, [False] * (len(values) - 1))
    assert sum(belief) == pytest.approx(1) and min(belief) >= 0


def test_the_papers_belief_depends_on_the_lowest_and_the_newest_score_only():
    beliefs = model().filter(BeliefKind.UNIFORM)
    short = beliefs.belief([0.3, 0.6], [False])
    assert beliefs.belief([0.9, 0.3, 0.8, 0.6], [False, True, False]) == short
    table = beliefs.observations.pairs[1, 2]
    assert short == pytest.approx(table / table.sum())


def test_a_rewritten_step_is_trusted_as_its_author_is():
    process = process_from_accuracies(0.6, 0.99, hazard(), 40)
    beliefs = BeliefFilter(process, observations(), BeliefKind.NEWEST)
    kept, rewritten = (beliefs.belief([0.5, 0.5], [strong]) for strong in (False, True))
    assert rewritten[1] < kept[1]


@given(chances, chances, st.floats(0, 0.02), st.integers(1, 200), st.lists(scores, min_size=1))
@settings(max_examples=20)
def test_the_last_step_is_rewritten_where_that_earns_more(weak, strong, price, tokens, values):
    values = values[:10]
    fitted = model(weak, strong)
    policy = PomdpPolicy(make_plan(fitted.problem(price)), fitted.filter())
    actions = (Action.CONTINUE,) * (len(values) - 1)
    right, _, repairable = fitted.filter().belief(values, [False] * len(actions))
    gain = strong * (right + repairable) - price * tokens - right
    decided = policy.decide(observe(values, actions, tokens, last=True))
    if abs(gain) > 1e-9:
        assert (decided is Action.REGENERATE) == (gain > 0)


@given(st.floats(0.0001, 0.01), st.lists(scores, min_size=1, max_size=8))
@settings(max_examples=15)
def test_a_longer_draft_is_never_rewritten_where_a_shorter_one_is_kept(price, values):
    fitted = model()
    policy = PomdpPolicy(make_plan(fitted.problem(price)), fitted.filter())
    actions = (Action.CONTINUE,) * (len(values) - 1)
    decided = [
        policy.decide(observe(values, actions, tokens)) is Action.REGENERATE
        for tokens in (1, 20, 80, 400)
    ]
    assert decided == sorted(decided, reverse=True)


def test_a_wrong_step_is_rewritten_once_and_lost_traces_are_left_alone():
    fitted = PomdpModel(process_from_accuracies(0.8, 0.97, hazard(), 40), telling())
    policy = PomdpPolicy(make_plan(fitted.problem(0.002)), fitted.filter())
    assert policy.decide(observe([0.9])) is Action.CONTINUE
    assert policy.decide(observe([0.9, 0.1], [Action.CONTINUE])) is Action.REGENERATE
    ignored = [Action.CONTINUE] * 4
    assert policy.decide(observe([0.9, 0.1, 0.1, 0.1, 0.1], ignored)) is Action.CONTINUE


def test_the_papers_rule_keeps_drafts_that_are_unlikely_to_be_repairable():
    """At price 0 rewriting pays in both bins; P(S2) is within 0.4 of P(S0) in one of them."""
    pairs = np.zeros((2, 2, 3))
    pairs[0, 0], pairs[1, 1] = (0.9, 0.1, 0.25), (0.1, 0.9, 0.75)
    seen = Observations(pairs, pairs.sum(axis=0))
    fitted = PomdpModel(process_from_accuracies(0.8, 0.95, hazard(), 40), seen, BeliefKind.UNIFORM)
    policy = PomdpPolicy(make_plan(fitted.problem(0.0)), fitted.filter())
    for values, repairable, decision in (
        ([0.1, 0.1], 0.25 / 1.25, Action.CONTINUE),
        ([0.9, 0.9], 0.75 / 1.75, Action.REGENERATE),
    ):
        belief = policy.filter.belief(values, [False])
        assert belief[2] == pytest.approx(repairable)
        assert policy.plan.gain(2, *belief[:2]) > 0
        assert policy.decide(observe(values, [Action.CONTINUE])) is decision


@given(st.integers(0, 100), st.sampled_from(list(BeliefKind)))
@settings(max_examples=10)
def test_a_model_survives_its_file(tmp_path_factory, seed, kind):
    path = tmp_path_factory.mktemp("model") / "pomdp.json"
    fitted = model(belief=kind, seed=seed)
    write_model(path, fitted)
    again = read_model(path)
    assert again.belief is kind and again.fitted_to == fitted.fitted_to
    assert np.array_equal(again.process.transitions[1], fitted.process.transitions[1])
    assert np.allclose(again.observations.pairs, fitted.observations.pairs, rtol=1e-6)


def test_a_file_names_its_policies(tmp_path):
    write_model(tmp_path / "pomdp.json", model())
    policies = parse_policies(f"pomdp:{tmp_path / 'pomdp.json'}@0.001,0.01")
    assert [policy.name for policy in policies] == ["pomdp:0.001", "pomdp:0.01"]
    assert {policy.scorer for policy in policies} == {"prm"}
    swept = parse_policies(f"pomdp:{tmp_path / 'pomdp.json'}")
    assert len({policy.name for policy in swept}) == len(swept) > 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"policy": "thr"}, "fitted for the policy 'pomdp'"),
        ({"belief": "hope"}, "fitted for the policy"),
        ({"tokens": -1}, "fitted for the policy"),
        ({"hazard": [0, 1]}, "fitted for the policy"),
        ({"newest": [[0.5, 0.5, 0.5]]}, "fitted for the policy"),
        ({"pairs": "none"}, "fitted for the policy"),
        ({"edges": [0.5, 0.25, 0.75]}, "fitted for the policy"),
        ({"edges": [0.5]}, "fitted for the policy"),
        ({"of": {"kind": "vibes"}}, "vibes"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    path = tmp_path / "pomdp.json"
    write_model(path, model())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInput, match=message):
        read_pomdp(path)


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_model(tmp_path / "nowhere" / "pomdp.json", model())


@given(
    st.lists(st.tuples(scores, scores), min_size=2, max_size=30),
    st.integers(5, 40),
)
def test_a_reflected_density_keeps_all_of_its_mass_inside(points, cells):
    density = reflected_density(np.array(points), cells)
    assert density.shape == (cells, cells)
    assert density.sum() == pytest.approx(1) and density.min() >= 0


@given(st.lists(scores, min_size=5, max_size=30))
def test_a_reflected_density_is_a_sum_of_gaussians_and_their_mirror_images(points):
    """Against the formula, where the kernel is wider than the cells that points are put in."""
    values = np.array(points)
    width = len(values) ** -0.2 * values.std(ddof=1)
    if width < 0.05:
        return
    cells = 400
    middles = (np.arange(cells) + 0.5) / cells
    images = np.concatenate([values, -values, 2 - values, values + 2, values - 2])
    expected = np.exp(-0.5 * ((middles[:, None] - images) / width) ** 2).sum(axis=1)
    found = reflected_density(values[:, None], cells)
    assert np.abs(found - expected / expected.sum()).sum() < 0.03


def solution(scores, correct, strong=False, right=None):
    count = len(scores)
    return LabelledTrajectory(tuple(scores), (20,) * count, (strong,) * count, correct, right)


def test_every_labelled_step_is_an_example_of_its_state():
    labelled = [
        solution([0.9, 0.2, 0.7], False, right=(True, False, True)),
        solution([0.1, 0.2], True, True, right=(True, True)),
    ]
    evidence = evidence_from_solutions(labelled)
    assert evidence.examples.tolist() == [
        [0, 1.0, 0.9],
        [2, 0.9, 0.2],
        [1, 0.2, 0.7],
        [0, 1.0, 0.1],
        [0, 0.1, 0.2],
    ]
    assert evidence.weights.tolist() == [1] * 5
    assert evidence.step_counts.tolist() == [[1, 1], [0, 2]]
    assert evidence.recovered == (0, 1)
    assert evidence.source == {"from": "labels", "steps": 5}


def test_fitted_figures_are_those_of_the_process_that_made_the_traces():
    """2,000 solutions drawn from a known process give its accuracies and score densities back."""
    random = np.random.default_rng(1)
    drawn = []
    for index in range(2000):
        strong = bool(index % 2)
        right = random.random(random.integers(2, 9)) < (0.97 if strong else 0.85)
        right = np.logical_and.accumulate(right)
        values = np.where(right, random.beta(9, 1, len(right)), random.beta(1, 4, len(right)))
        drawn.append(solution(values.tolist(), bool(right.all()), strong, tuple(right.tolist())))
    fitted = fit_pomdp(drawn)
    assert fitted.process.drafting[0, 0] == pytest.approx(0.85, abs=0.015)
    assert fitted.process.rewriting[0, 0] == pytest.approx(0.97, abs=0.01)
    assert fitted.process.tokens == 20
    middles = fitted.observations.newest_scores
    assert middles @ fitted.observations.newest[:, 0] == pytest.approx(0.9, abs=0.02)
    assert middles @ fitted.observations.newest[:, 2] == pytest.approx(0.2, abs=0.04)
    assert fitted.process.length_distribution[2:9] == pytest.approx(np.full(7, 1 / 7), abs=0.03)


@given(st.lists(st.tuples(st.integers(0, 2), scores), max_size=60), st.floats(0.01, 0.99))
@settings(max_examples=8)
def test_bins_of_the_newest_score_depend_on_its_rank_alone(drawn, power):
    """A scorer whose scores are bent, in the same order, tells the states apart as well."""
    rows = [*drawn, *((state, 0.1 * place) for state in range(3) for place in range(10))]
    values = np.round([score for _, score in rows], 3)
    states = np.array([state for state, _ in rows])
    bent = values**power
    plain, other = (
        fit_observations(np.column_stack([states, scores, scores])) for scores in (values, bent)
    )
    assert np.allclose(plain.newest, other.newest)
    for value, changed in zip(values, bent, strict=True):
        found = np.searchsorted(plain.newest_edges, value, side="right")
        assert found == np.searchsorted(other.newest_edges, changed, side="right")


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_equal_scores_are_uninformative(score):
    rows = np.array([[state, score, score] for state in range(3) for _ in range(20)])
    table = fit_observations(rows).newest
    assert np.allclose(table[0], table[0][0]) and np.allclose(table.sum(axis=0), 1)


def test_too_little_to_fit_is_refused():
    with pytest.raises(InvalidInput, match="no solved problem"):
        fit_pomdp([])
    with pytest.raises(InvalidInput, match="steps of the strong model"):
        fit_pomdp([solution([0.9] * 5, True, right=(True,) * 5)] * 10)
    right = (True,) * 5
    with pytest.raises(InvalidInput, match="0 examples of state S1"):
        fit_pomdp([solution([0.9] * 5, True, strong, right) for strong in (False, True)] * 10)
    free = replace(solution([0.9] * 5, True, True, right), tokens=(0,) * 5)
    with pytest.raises(InvalidInput, match="the strong model's steps have 0 tokens"):
        fit_pomdp([solution([0.9] * 5, True, False, right), free] * 10)
    with pytest.raises(InvalidInput, match="outside"):
        fit_observations(np.array([[0, 0.5, 1.5]]))
    with pytest.raises(InvalidInput, match="outside"):
        solution([1.5], True)


def labelled_problem(index=0, label=True):
    """One problem: the first draft is wrong, its rewrite right; each way has a second step."""

    def node(step, score, right, strong_score, strong_right, continue_to, regenerate_to):
        return Node(
            step,
            f"draft {step} {score}",
            score,
            10,
            right if label else None,
            step == 2,
            f"rewrite {step} {score}",
            strong_score,
            30,
            strong_right if label else None,
            continue_to,
            regenerate_to,
        )

    nodes = (
        node(1, 0.2, False, 0.9, True, 1, 2),
        node(2, 0.3, True, 0.4, True, LEAF_WRONG, LEAF_WRONG),
        node(2, 0.8, True, 0.95, True, LEAF_RIGHT, LEAF_RIGHT),
    )
    weak = SoloSolution((SoloStep("a", 10, 0.2), SoloStep("b", 10, 0.3)), "1", False, 20)
    strong = SoloSolution((SoloStep("a", 30), SoloStep("b", 30)), "2", True, 60)
    rollouts = (
        Rollout(RolloutOrigin.KEEP, 0.0, (0, 1), (False, False), (1.0, 1.0), False, 0),
        Rollout(RolloutOrigin.RANDOM, 0.5, (0, 2), (True, False), (0.5, 0.5), True, 30),
    )
    return RecordedProblem(f"p{index:03}", "what?", "2", weak, strong, nodes, rollouts)


def make_bank(folder, problems):
    models = {"weak": "a", "strong": "b", "scorer": "c"}
    store = BankStore(folder, Identity("chain", 0, models, "prm", None, 2))
    for problem in problems:
        store.add(problem)
    store.flush()
    return read_bank(folder)


def test_labelled_banks_give_every_draft_and_rewrite_once(tmp_path):
    evidence = evidence_from_bank(make_bank(tmp_path / "bank", [labelled_problem()]))
    assert sorted(map(tuple, evidence.examples.tolist())) == sorted(
        [(2, 1.0, 0.2), (0, 1.0, 0.9), (1, 0.2, 0.3), (1, 0.2, 0.4), (0, 0.9, 0.8), (0, 0.9, 0.95)]
    )
    assert evidence.step_counts.tolist() == [[1, 1], [0, 2]]
    assert evidence.lengths == [2, 2] and evidence.strong_tokens == [30, 30, 30]


def test_banks_without_labels_give_the_steps_of_their_trees(tmp_path):
    """By the same EM as the steps, written out; what is merged or shared is there once."""
    problems = [labelled_problem(index, label=False) for index in range(4)]
    evidence = evidence_from_bank(make_bank(tmp_path / "bank", problems))
    steps = []
    for first in range(0, 24, 6):
        steps += [
            Step(-1, False, 0.2),
            Step(-1, True, 0.9),
            Step(first, False, 0.3, 0),
            Step(first, True, 0.4, 0),
            Step(first + 1, False, 0.8, 1),
            Step(first + 1, True, 0.95, 1),
        ]
    expected = evidence_from_steps(WrittenSteps.of(steps), [2] * 8, [30] * 12)
    assert np.array_equal(evidence.examples, expected.examples)
    assert np.array_equal(evidence.weights, expected.weights)
    assert np.array_equal(evidence.step_counts, expected.step_counts)
    assert (evidence.lengths, evidence.strong_tokens) == (expected.lengths, expected.strong_tokens)
    assert evidence.source == expected.source
    assert (evidence.source["from"], evidence.source["outcomes"]) == ("outcomes", 16)


def test_models_without_a_mistake_keep_accuracies_below_1():
    examples = np.array([(state, 0.5, 0.5) for state in range(3) for _ in range(20)])
    counts = np.array([[0, 20], [0, 20]])
    fitted = fit_evidence(Evidence(examples, np.ones(60), counts, (0, 0), [3] * 20, [10] * 20))
    assert 0.95 < fitted.process.rewriting[0, 0] < 1


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)))


def test_commands_fit_plan_and_refuse(tmp_path):
    make_bank(tmp_path / "bank", [labelled_problem(index) for index in range(20)])
    out = tmp_path / "pomdp.json"
    result = run("fit", tmp_path / "bank", "--out", out, "--belief", "pairs")
    assert result.exit_code == 0, result.output
    assert read_model(out).fitted_to == {"weak": "a", "strong": "b", "scorer": "c", "kind": "prm"}
    planned = json.loads(run("plan", out, "--lambda", 0.001, "--json").output)
    assert 0 <= planned["lower"] <= planned["upper"] <= 1

    before = out.read_bytes()
    assert read_model(out).source == {"from": "labels", "steps": 120}
    too_few = make_bank(tmp_path / "few", [labelled_problem()])
    assert len(too_few.problems) == 1
    for words, message in (
        (("fit", tmp_path / "few", "--out", out), "at least 10 are needed"),
        (("fit", tmp_path / "nothing", "--out", out), "not a bank"),
        (("fit", tmp_path / "bank", "--out", out, "--tokens", 60), "leave the options out"),
        (("fit", tmp_path / "rows.csv", "--out", out), "needs --weak-accuracy"),
        (("plan", out), "--lambda"),
        (("plan", out, "--lambda", -1), "from 0 to the reward"),
        (("plan", out, "--lambda", 1, "--cost", 1), "none of the options"),
        (("plan",), "with all of"),
        (("simulate", tmp_path / "nothing.json"), "cannot read"),
        (("solve", "1 + 1?", "--policy", f"pomdp:{out}@2"), "not a number from 0 to 1"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2 and message in refused.output, (words, refused.output)
        assert len(refused.output.splitlines()) == 1
        assert out.read_bytes() == before


@pytest.mark.pictures
def test_labelled_scores_are_fitted_with_the_figures_beside_them(tmp_path):
    random = np.random.default_rng(0)
    lines = [f"{state},{a},{b}" for state in range(3) for a, b in random.random((15, 2))]
    (tmp_path / "rows.csv").write_text(
        "\n".join(["state,min_previous_score,current_score", *lines]) + "\n"
    )
    (tmp_path / "hazard.json").write_text(json.dumps(hazard().tolist()))
    figures = ("--weak-accuracy", 0.8, "--strong-accuracy", 0.9, "--tokens", 50)
    out = tmp_path / "pomdp.json"
    result = run(
        "fit", tmp_path / "rows.csv", "--out", out, *figures, "--hazard", tmp_path / "hazard.json"
    )
    assert result.exit_code == 0, result.output
    assert read_model(out).process.tokens == 50


def test_the_belief_that_serves_best_is_found_by_replay(tmp_path, monkeypatch):
    bank = make_bank(tmp_path / "bank", [labelled_problem(index) for index in range(60)])
    areas = apgr_by_belief(bank)
    monkeypatch.setattr("trim.rollouts.fit.apgr_by_belief", lambda *given: areas)
    assert set(areas) == set(BeliefKind) and all(0 <= area <= 1 for area in areas.values())
    assert areas[best_belief_kind(bank)] == max(areas.values())


def test_small_banks_use_the_filter_on_the_newest_score(tmp_path):
    few = make_bank(tmp_path / "few", [labelled_problem(index) for index in range(4)])
    assert best_belief_kind(few) is BeliefKind.NEWEST


def test_errors_that_did_no_harm_are_counted(tmp_path):
    """Of each problem one rollout has a wrong step, here with the right answer in a third."""
    problems = []
    for index in range(60):
        plain = labelled_problem(index)
        kept = replace(plain.rollouts[0], correct=index % 3 == 0)
        problems.append(replace(plain, rollouts=(kept, plain.rollouts[1])))
    model = fit_evidence(evidence_from_bank(make_bank(tmp_path / "bank", problems)))
    assert model.process.recovery == pytest.approx(20 / 61)
