"""Simulation: what it predicts is what the model says, and what the policy does."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trim.cli.main import main
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.model import PomdpModel, write_model
from trim.policies.pomdp.observations import (
    Observations,
    fit_observations,
    read_bins,
    read_examples,
)
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.policy import PomdpPolicy
from trim.policies.pomdp.process import STEPS, process_from_accuracies
from trim.policies.pomdp.simulate import (
    Draw,
    OracleRule,
    PlanRule,
    RandomNumbers,
    RandomRule,
    Sampler,
    endpoint_metrics,
    run,
    simulate,
)
from trim.types import Action, Observation

REFERENCE = Path(__file__).parents[2] / "shared" / "data" / "reference"
BINS = REFERENCE / "math_observation_bins_0.05.csv"
EXAMPLES = REFERENCE / "processbench_math_prm_observations.csv"
PARAMETERS = REFERENCE / "math_train_transition_parameters.json"
needs_reference = pytest.mark.skipif(
    not BINS.exists(), reason="the published tables are not beside this checkout"
)


def process():
    hazard = np.full(STEPS + 1, 0.3)
    hazard[:2], hazard[STEPS] = 0, 1
    return process_from_accuracies(0.85, 0.96, hazard, 50)


def model(belief=BeliefKind.NEWEST):
    newest = np.array([[0.05, 0.4, 0.7], [0.15, 0.3, 0.2], [0.8, 0.3, 0.1]])
    pairs = np.einsum(
        "is,js->ijs", np.array([[0.1, 0.7, 0.1], [0.1, 0.2, 0.2], [0.8, 0.1, 0.7]]), newest
    )
    return PomdpModel(process(), Observations(pairs, newest), belief)


@pytest.mark.parametrize("draw", list(Draw))
def test_models_alone_and_oracle_reach_what_can_be_counted(draw):
    fitted = model()
    draws = RandomNumbers.of(fitted, 20_000, 0)
    lengths = np.arange(STEPS + 1)
    shares = fitted.process.length_distribution
    for rule, accuracy in (
        (RandomRule(0.0), 0.85),
        (RandomRule(1.0), 0.96),
        (OracleRule(), 0.85 + 0.15 * 0.96),
    ):
        outcome = run(fitted, rule, draws, draw)
        assert outcome.right.mean() == pytest.approx(shares @ accuracy**lengths, abs=0.015)
    always = run(fitted, RandomRule(1.0), draws, draw)
    assert np.array_equal(always.rewrites, draws.lengths)


@pytest.mark.parametrize(
    ("kind", "draw"), [(BeliefKind.NEWEST, Draw.SCORES), (BeliefKind.PAIRS, Draw.PAIRS)]
)
def test_a_simulated_plan_earns_at_least_its_certified_value(kind, draw):
    """Where scores are as the plan believes; what is seen of rewritten steps only helps."""
    fitted, price = model(), 0.001
    plan = make_plan(fitted.problem(price, kind))
    outcome = run(
        fitted, PlanRule(plan, fitted.filter(kind)), RandomNumbers.of(fitted, 20_000, 0), draw
    )
    earned = outcome.right - price * fitted.process.tokens * outcome.rewrites
    assert earned.mean() >= plan.lower - 4 * earned.std() / len(earned) ** 0.5


@pytest.mark.parametrize("kind", list(BeliefKind))
def test_the_simulated_router_decides_as_the_policy(kind, monkeypatch):
    """Each decision in arrays is repeated by the policy from the trace it was taken on."""
    fitted = model(kind)
    plan = make_plan(fitted.problem(0.001))
    policy, rule = PomdpPolicy(plan, fitted.filter()), PlanRule(plan, fitted.filter())
    scores, views = [], []
    draw_scores = Sampler.scores

    def spied(*words):
        drawn = draw_scores(*words)
        scores.append(drawn[1])
        return drawn

    class Recorded:
        family, setting, filter = "pomdp", None, rule.filter

        def choose(self, view):
            views.append((view, rule.choose(view)))
            return views[-1][1]

    monkeypatch.setattr(Sampler, "scores", spied)
    draws = RandomNumbers.of(fitted, 300, 1)
    run(fitted, Recorded(), draws, Draw.SCORES)
    traces = {index: ([], []) for index in range(300)}
    rewrites = 0
    for (view, chosen), drafts, replaced in zip(views, scores[::2], scores[1::2], strict=True):
        for place, index in enumerate(np.flatnonzero(draws.lengths >= view.step)):
            kept, actions = traces[index]
            seen = (*kept, float(drafts[place]))
            observation = Observation(
                "?",
                ("a",) * view.step,
                seen,
                (50,) * view.step,
                tuple(actions),
                0,
                last=bool(view.last[place]),
            )
            decided = policy.decide(observation)
            assert (decided is Action.REGENERATE) == chosen[place]
            actions.append(decided)
            kept.append(float(replaced[place]) if chosen[place] else seen[-1])
            rewrites += int(chosen[place])
    assert rewrites > 50


def test_the_same_seed_draws_the_same_problems():
    first, again, other = (simulate(model(), 500, seed, prices=(0.001,)) for seed in (0, 0, 1))
    assert first == again and first["points"] != other["points"]


@pytest.mark.parametrize(
    ("kind", "draw"), [(BeliefKind.NEWEST, "scores"), (BeliefKind.PAIRS, "pairs")]
)
def test_no_router_goes_below_the_limit_and_the_planned_one_comes_close(kind, draw):
    """The limit is a bound by duality: it is met at the corners of the best curve alone."""
    found = simulate(model(), 10_000, draw=Draw(draw))
    best_gain = max(c["delta_ibc"] for name, c in found["curves"].items() if name != "oracle")
    assert found["limit"].pop("delta_ibc") > best_gain
    for gain, limit in found["limit"].items():
        reached = [
            curve["cpt"][gain]
            for family, curve in found["curves"].items()
            if family != "oracle" and curve["cpt"][gain] is not None
        ]
        best = found["curves"][f"pomdp-{kind}"]["cpt"][gain]
        assert 0.5 * best < limit < min(reached) + 0.02


def test_the_command_shows_a_table_or_json(tmp_path):
    write_model(tmp_path / "pomdp.json", model())
    words = ["simulate", str(tmp_path / "pomdp.json"), "-n", "500"]
    shown, printed = (CliRunner().invoke(main, [*words, *more]) for more in ([], ["--json"]))
    assert shown.exit_code == printed.exit_code == 0, shown.output
    found = json.loads(printed.output)
    families = {"thr", "random", "oracle", *(f"pomdp-{kind}" for kind in BeliefKind)}
    assert set(found["curves"]) == families
    assert all(family in shown.output for family in {*families, "limit"})


@needs_reference
def test_the_published_scores_rank_the_routers_as_published():
    """TRIM-POMDP before TRIM-Thr on MATH, and filters before the uniform prior."""
    weak = json.loads(PARAMETERS.read_text())["terminal_probability_by_step"]["weak"]
    published = PomdpModel(
        process_from_accuracies(0.866, 0.9704, np.array(weak), 60), read_bins(BINS)
    )
    prices = (0.0083, 0.0042, 0.002, 0.0008)
    curves = simulate(published, 4000, draw=Draw.PAIRS, prices=prices)["curves"]
    gains = {family: curve["delta_ibc"] for family, curve in curves.items()}
    assert gains["thr"] < gains["pomdp-uniform"] < gains["pomdp-pairs"] <= gains["oracle"] + 0.2
    assert gains["random"] < 0.5


@needs_reference
def test_the_fitted_densities_are_the_published_ones():
    """Total variation at the published bins, from the published examples: at most 1 %."""
    fitted = fit_observations(read_examples(EXAMPLES)).pairs
    coarse = fitted.reshape(20, 2, 20, 2, 3).sum(axis=(1, 3))
    difference = np.abs(coarse - read_bins(BINS).pairs).sum(axis=(0, 1)) / 2
    assert np.all(difference <= 0.01)


def test_the_ends_of_the_limit_are_those_that_simulation_finds():
    """Also where errors may do no harm, and then both models are right more often."""
    plain_model = model()
    lucky = replace(plain_model, process=replace(plain_model.process, recovery=0.3))
    for one in (plain_model, lucky):
        found, exact = simulate(one, 20_000, prices=(0.001,)), endpoint_metrics(one)
        for name in ("weak_accuracy", "strong_accuracy"):
            assert found[name] == pytest.approx(exact[name], abs=0.012)
        assert found["strong_tokens_mean"] == pytest.approx(exact["strong_tokens_mean"], rel=0.02)
    plain, risen = (
        endpoint_metrics(plain_model)["weak_accuracy"],
        endpoint_metrics(lucky)["weak_accuracy"],
    )
    assert risen == pytest.approx(0.3 + 0.7 * plain)


def test_without_a_better_strong_model_there_is_no_limit():
    weaker = replace(model(), process=process_from_accuracies(0.95, 0.8, process().hazard, 50))
    found = simulate(weaker, 500, prices=(0.001,))
    assert found["strong_accuracy"] < found["weak_accuracy"]
    assert set(found["limit"].values()) == {None}


@pytest.mark.parametrize("price", [0.0005, 0.004])
def test_harmless_errors_scale_what_a_plan_is_worth(price):
    """P(right) = q + (1 - q) P(no error): the plan is that of a dearer token."""
    plain_model = model()
    lucky = replace(plain_model, process=replace(plain_model.process, recovery=0.25))
    plain = make_plan(plain_model.problem(price / 0.75), 1e-3)
    risen = make_plan(lucky.problem(price), 1e-3)
    assert risen.lower == pytest.approx(0.25 + 0.75 * plain.lower, abs=2e-3)
    assert risen.upper == pytest.approx(0.25 + 0.75 * plain.upper, abs=2e-3)
