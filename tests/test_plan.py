"""The planners: bounds that hold, agree with each other, and with the published case."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.errors import InvalidInput
from trim.policies.pomdp.line_plan import plan_lines
from trim.policies.pomdp.observations import fit_observations, read_bins
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.process import (
    STEPS,
    Process,
    RoutingProblem,
    fit_hazard,
    process_from_accuracies,
    read_hazard,
)
from trim.policies.pomdp.triangle_plan import plan_triangle

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "reference"
BINS = REFERENCE / "math_observation_bins_0.05.csv"
PARAMETERS = REFERENCE / "math_train_transition_parameters.json"
needs_reference = pytest.mark.skipif(
    not BINS.exists(), reason="the published tables are not beside this checkout"
)

chances = st.floats(0.05, 0.95)
EXAMPLE = (
    "min_previous_score,current_score,p_S0,p_S1,p_S2\n"
    "0.25,0.25,0.0,0.6,0.1\n0.25,0.75,0.0,0.3,0.1\n0.75,0.25,0.2,0.1,0.7\n0.75,0.75,0.8,0,0.1\n"
)


def ends_at(last):
    hazard = np.zeros(STEPS + 1)
    hazard[last:] = 1
    return hazard


@st.composite
def problems(draw):
    observation_model = np.array([[draw(st.floats(0.01, 1)) for _ in range(3)] for _ in range(4)])
    lengths = draw(st.lists(st.integers(2, 30), min_size=1, max_size=20))
    process = process_from_accuracies(draw(chances), draw(chances), fit_hazard(lengths), 50)
    return RoutingProblem(
        process, observation_model / observation_model.sum(axis=0), draw(st.floats(0, 0.01))
    )


@given(problems())
@settings(max_examples=15, deadline=None)
def test_two_independent_planners_agree(problem):
    lines, triangles = plan_lines(problem, 1e-4), plan_triangle(problem, 0.02, finest=16)
    assert lines.lower <= lines.upper + 1e-9
    assert lines.upper - lines.lower <= 1e-4 + 1e-9
    assert triangles.lower <= lines.upper + 1e-9
    assert lines.lower <= triangles.upper + 1e-9


@given(chances, chances)
def test_one_step_is_worth_what_can_be_counted_by_hand(weak, strong):
    """Scores that say all: a right draft is kept, a wrong one rewritten where that pays."""
    process = process_from_accuracies(weak, strong, ends_at(1), 10)
    price = 0.01
    plan = plan_lines(RoutingProblem(process, np.eye(3), price), 1e-6)
    expected = weak + (1 - weak) * max(0.0, strong - 10 * price)
    assert plan.lower == pytest.approx(expected) and plan.upper == pytest.approx(expected)


@given(problems())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_lower_bound_is_earned_by_following_the_plan(problem):
    """20,000 simulated solutions by the planned decisions, within four standard errors."""
    plan = plan_lines(problem, 1e-3)
    earned = simulate(problem, plan, np.random.default_rng(0), 20_000)
    # A right solution may be too rare to occur at all: its own spread, then.
    spread = max(earned.std(), (problem.reward * max(plan.upper, 0)) ** 0.5)
    error = 4 * spread / len(earned) ** 0.5 + 1e-6
    assert plan.lower - error <= earned.mean() <= plan.upper + error


def simulate(problem, plan, random, count):
    """What each of `count` solutions earns where the plan decides on the filtered belief."""
    process, price = problem.process, problem.price * problem.process.tokens
    keep_right, rewrite_right = process.final_accuracy
    state = random.choice(3, size=count, p=process.initial_belief)
    belief = np.tile(process.initial_belief, (count, 1))
    earned, alive = np.zeros(count), np.arange(count)
    for t in range(1, STEPS + 1):
        belief = (
            belief * problem.observation_model[drawn(problem.observation_model.T[state], random)]
        )
        belief /= belief.sum(axis=1, keepdims=True)
        ends = random.random(len(state)) < process.hazard[t]
        paid = belief @ (rewrite_right - keep_right) * problem.reward > price
        chance = np.where(paid, rewrite_right[state], keep_right[state])
        right = random.random(len(state)) < chance
        earned[alive[ends]] += (problem.reward * right - price * paid)[ends]
        state, belief, alive = state[~ends], belief[~ends], alive[~ends]
        if not len(alive):
            break
        rewritten = plan.gains(t, belief[:, 0], belief[:, 1]) > price
        earned[alive[rewritten]] -= price
        tables = np.stack(process.transitions)[rewritten.astype(int)]
        state = drawn(tables[np.arange(len(state)), state], random)
        belief = np.einsum("ns,nst->nt", belief, tables)
    return earned


def drawn(rows, random):
    """An index from each row of probabilities."""
    beyond = random.random((len(rows), 1)) > rows.cumsum(axis=1)
    return beyond.sum(axis=1).clip(max=rows.shape[1] - 1)


def test_an_error_that_heals_is_planned_by_the_general_method():
    method = process_from_accuracies(0.8, 0.95, ends_at(6), 50)
    healing = np.array([[0.8, 0.0, 0.2], [0.1, 0.9, 0.0], [0.3, 0.7, 0.0]])
    process = Process(healing, method.rewriting, healing, method.hazard, 50)
    observation_model = np.array([[0.8, 0.2, 0.1], [0.1, 0.5, 0.2], [0.1, 0.3, 0.7]])
    problem = RoutingProblem(process, observation_model, 0.002)
    assert not process.has_paired_rows
    with pytest.raises(InvalidInput, match="not paired"):
        plan_lines(problem, 0.1)
    plan = make_plan(problem, 0.05)
    assert 0 <= plan.upper - plan.lower <= 0.05
    lost = make_plan(replace(problem, process=method), 0.001)
    assert plan.lower > lost.upper


def test_a_decision_is_the_same_one_by_one_and_in_arrays():
    process = process_from_accuracies(0.85, 0.97, ends_at(8), 50)
    observation_model = np.array([[0.8, 0.2, 0.1], [0.1, 0.5, 0.2], [0.1, 0.3, 0.7]])
    for plan in (
        plan_lines(RoutingProblem(process, observation_model, 0.002), 1e-3),
        plan_triangle(RoutingProblem(process, observation_model, 0.002), 0.05),
    ):
        beliefs = np.random.default_rng(0).dirichlet(np.ones(3), 50)
        gains = plan.gains(3, beliefs[:, 0], beliefs[:, 1])
        single = [plan.gain(3, *belief[:2]) for belief in beliefs.tolist()]
        assert gains == pytest.approx(single)


@needs_reference
def test_the_published_case_lies_within_the_bounds_of_sarsop():
    """SARSOP: 67.796 to 68.377 after 200 seconds."""
    hazard = json.loads(PARAMETERS.read_text())["terminal_probability_by_step"]["weak"]
    process = process_from_accuracies(0.866, 0.9704, np.array(hazard), 60)
    observation_model = read_bins(BINS).pairs.reshape(-1, 3)
    problem = RoutingProblem(process, observation_model, 0.25, 100)
    plan = plan_lines(problem, 0.0002)
    assert plan.upper - plan.lower <= 0.0002
    assert 67.796 <= plan.lower <= plan.upper <= 68.377
    general = plan_triangle(problem, 0.5, finest=8)
    assert general.lower <= plan.upper and plan.lower <= general.upper


def test_the_command_prints_its_bounds(tmp_path):
    (tmp_path / "bins.csv").write_text(EXAMPLE)
    (tmp_path / "hazard.json").write_text(json.dumps(ends_at(5).tolist()))
    result = run_plan(tmp_path)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.output)
    assert 0 <= figures["upper"] - figures["lower"] <= 0.01
    assert figures["seconds"] > 0


def run_plan(folder, **changed):
    words = {
        "observations": folder / "bins.csv",
        "hazard": folder / "hazard.json",
        "weak_accuracy": 0.866,
        "strong_accuracy": 0.97,
        "cost": 0.25,
        "gap": 0.01,
        **changed,
    }
    options = [f"--{name.replace('_', '-')}={value}" for name, value in words.items()]
    return CliRunner().invoke(main, ["plan", *options, "--json"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"observations": "nowhere.csv"}, "cannot be read"),
        ({"hazard": "nowhere.json"}, "cannot be read"),
        ({"weak_accuracy": 1.5}, "weak accuracy 1.5"),
        ({"cost": -1}, "from 0 to the reward"),
        ({"gap": 0}, "above 0"),
        ({"reward": 0}, "must be above 0"),
        ({"tokens": 0}, "tokens 0.0: must be above 0"),
    ],
)
def test_bad_input_of_the_command_is_one_line(tmp_path, changed, message):
    (tmp_path / "bins.csv").write_text(EXAMPLE)
    (tmp_path / "hazard.json").write_text(json.dumps(ends_at(5).tolist()))
    result = run_plan(tmp_path, **changed)
    assert result.exit_code == 2
    assert message in result.output and len(result.output.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", EXAMPLE.replace("0.6", "x"), EXAMPLE[:-20]])
def test_damaged_bins_are_refused(tmp_path, content):
    (tmp_path / "bins.csv").write_text(content)
    with pytest.raises(InvalidInput, match=r"bins\.csv"):
        read_bins(tmp_path / "bins.csv")


def test_damaged_hazards_are_refused(tmp_path):
    for content in ("", "[1, 2]", '{"a": 1}', '["x"]'):
        (tmp_path / "hazard.json").write_text(content)
        with pytest.raises(InvalidInput, match=r"hazard\.json"):
            read_hazard(tmp_path / "hazard.json")


@given(st.lists(st.integers(0, 60), min_size=1, max_size=100))
def test_hazards_give_back_the_lengths(lengths):
    hazard = fit_hazard(lengths)
    assert hazard[STEPS] == 1 and np.all((hazard >= 0) & (hazard <= 1))
    process = process_from_accuracies(0.9, 0.9, hazard, 1)
    assert process.length_distribution.sum() == pytest.approx(1)


@given(st.integers(2, 30), st.integers(1, 20))
def test_solutions_that_are_all_alike_end_there(length, count):
    hazard = fit_hazard([length] * count)
    assert hazard[length] == pytest.approx(1)
    assert np.all(hazard[:length] < 1e-6)


def test_too_few_examples_of_a_state_are_refused():
    random = np.random.default_rng(0)
    rows = np.column_stack([np.repeat([0, 1, 2], [50, 50, 5]), random.random((105, 2))])
    with pytest.raises(InvalidInput, match="5 examples of state S2"):
        fit_observations(rows)
    observations = fit_observations(np.concatenate([rows, rows[-5:]]))
    assert np.allclose(observations.pairs.sum(axis=(0, 1)), 1)
    assert np.all(observations.pairs > 0)
