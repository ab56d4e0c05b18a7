"""Budgets and guarantees: limits of tokens, replays of recorded trees, bounds, router files."""

import asyncio
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from bank_models import EXPLORER, IDENTITY, PROBLEMS, SETTINGS, ChanceScorer, problem, writer
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from trim.cli.main import main
from trim.config import RouterConfig
from trim.configuration.identity import identify_models
from trim.configuration.source import Models
from trim.costs import Price, Prices
from trim.errors import InvalidInput
from trim.events import Decided, Finished, Scored
from trim.fingerprints import fingerprint
from trim.models.model import Completion, Ending
from trim.monitoring.profile import Profile
from trim.policies.agg.policy import PAPER
from trim.policies.calibrated import CalibratedRouter
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone
from trim.policies.policy import Policy
from trim.policies.ppo.weights import LearnedRouter, PriceRange, write_router
from trim.policies.registry import parse_policies
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Takeover, Threshold
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.calibration.bounds import (
    betting_upper,
    clopper_pearson_upper,
    student_upper,
    thatcher_upper,
)
from trim.rollouts.calibration.calibrate import calibrate, choose
from trim.rollouts.calibration.guarantee import Accuracy, Money, StrongShare
from trim.rollouts.calibration.outcomes import Baselines, ReplayEvaluator, ReplayOutcomes
from trim.rollouts.calibration.sweep import parse_sweep
from trim.rollouts.explorer import Explorer
from trim.rollouts.replay import replay
from trim.rollouts.store import BankStore
from trim.router import Router
from trim.shipped import FOLDER
from trim.testing import ScriptedModel
from trim.types import Action, Author, Finish, Observation, Trace, Usage

MAX_STEPS = 5
names = st.integers(0, 150).map(str)
limits = st.one_of(st.none(), st.integers(0, 12))


class Decisions(Policy):
    """Takes the given actions, step by step."""

    name = "decisions"

    def __init__(self, actions, needs_scores):
        self.actions = actions
        self.needs_scores = needs_scores

    def decide(self, observation):
        return self.actions[(len(observation.steps) - 1) % len(self.actions)]


policies = st.one_of(
    st.sampled_from([WeakAlone(), StrongAlone(), Cascade(0.3), Cascade(1)]),
    st.floats(0, 1).map(Threshold),
    st.floats(0, 1).map(Takeover),
    st.floats(0, 1).map(RandomMix),
    st.builds(Decisions, st.lists(st.sampled_from(Action), min_size=1), st.booleans()),
)


def events_of(name, policy, limit=None):
    router = Router(
        weak=writer("weak"),
        strong=writer("strong"),
        scorer=ChanceScorer(),
        policy=policy,
        config=RouterConfig(sampling=SETTINGS, max_steps=MAX_STEPS, max_strong_tokens=limit),
    )
    *events, finished = router.events(problem(name).question, seed=3)
    right = finished.trace.answer == problem(name).answer
    return events, replace(finished.trace, correct=right)


def written_by_strong(trace):
    """Tokens of each step of the strong model, one that was lost to the context included."""
    kept = [step.strong_tokens for step in (*trace.abandoned, *trace.steps)]
    return [*kept, trace.strong_tokens - sum(kept)]


@settings(max_examples=200)
@given(names, policies, st.integers(0, 12))
def test_a_limit_is_exceeded_by_no_more_than_the_step_in_flight(name, policy, limit):
    _, trace = events_of(name, policy, limit)
    assert trace.strong_tokens <= max(0, limit - 1 + max(written_by_strong(trace)))
    for step in (*trace.abandoned, *trace.steps):
        assert not step.denied or (step.author is Author.WEAK and step.action is Action.CONTINUE)
    if any(step.denied for step in trace.steps):
        assert trace.strong_tokens >= limit


@given(names, policies)
def test_a_limit_that_is_not_reached_changes_nothing(name, policy):
    _, trace = events_of(name, policy)
    assert events_of(name, policy, trace.strong_tokens + 1)[1] == trace


@given(names, policies)
def test_a_limit_of_0_never_asks_the_strong_model(name, policy):
    events, trace = events_of(name, policy, 0)
    _, weak = events_of(name, WeakAlone())
    assert [step.text for step in trace.steps] == [step.text for step in weak.steps]
    assert {event.action for event in events if isinstance(event, Decided)} == {Action.CONTINUE}
    assert trace.strong_tokens == trace.interventions == 0


def counted(text, tokens):
    return Completion(text, Ending.STEP, tokens, 0)


def numbered(tokens, name, length=4):
    """A model whose steps are numbered; it answers at the last."""

    def write(prefix):
        number = len(prefix.steps) + 1
        return counted(f"{name} {number}" if number < length else "\\boxed{1}", tokens)

    return ScriptedModel(write)


def test_the_weak_model_drafts_on_where_a_takeover_has_spent_its_tokens():
    scorer = ChanceScorer()
    router = Router(
        weak=numbered(1, "w"),
        strong=numbered(10, "s"),
        scorer=scorer,
        policy=Takeover(1),
        config=RouterConfig(max_strong_tokens=15),
    )
    *events, finished = router.events("a question")
    steps = finished.trace.steps
    assert [step.text for step in steps] == ["s 1\n\n", "s 2\n\n", "w 3\n\n", "\\boxed{1}"]
    assert [step.denied for step in steps] == [False, False, True, True]
    decided = [event.action for event in events if isinstance(event, Decided)]
    assert decided == [Action.TAKE_OVER, Action.CONTINUE, Action.CONTINUE]
    assert all(step.score is not None for step in steps[2:])


def test_a_policy_may_bring_a_limit_of_its_own():
    policy = Threshold(1)
    object.__setattr__(policy, "max_strong_tokens", 10)
    for limit, spent in ((None, 10), (5, 10), (25, 10), (0, 0)):
        router = Router(
            weak=numbered(1, "w"),
            strong=numbered(10, "s"),
            scorer=ChanceScorer(),
            policy=policy,
            config=RouterConfig(max_strong_tokens=limit),
        )
        assert router.solve("a question").strong_tokens == spent


def test_denied_steps_are_written_and_older_traces_read():
    traces = (events_of(str(number), Threshold(1), 3)[1] for number in range(100))
    trace = next(trace for trace in traces if any(step.denied for step in trace.steps))
    record = json.loads(json.dumps(trace.to_json()))
    assert Trace.from_json(record) == trace
    for step in record["steps"]:
        del step["denied"]
    older = Trace.from_json(record)
    assert not any(step.denied for step in older.steps)


def test_a_negative_limit_is_refused():
    with pytest.raises(InvalidInput, match="max_strong_tokens -1: must be"):
        Router(
            weak=numbered(1, "w"),
            strong=numbered(1, "s"),
            policy=WeakAlone(),
            config=RouterConfig(max_strong_tokens=-1),
        )
    for words in (["solve", "x"], ["eval", "chain", "--out", "nowhere"]):
        refused([*words, "--max-strong-tokens", "-1"], "tokens -1: must be 0 or more")


@cache
def explore(name, rollouts=200):
    explorer = Explorer(
        Models(writer("weak"), writer("strong"), {}),
        ChanceScorer(),
        RouterConfig(sampling=SETTINGS, max_steps=MAX_STEPS),
        rollouts=rollouts,
        seed=3,
    )
    return asyncio.run(explorer.explore(problem(name)))


@settings(max_examples=200)
@given(names, policies, limits)
def test_a_complete_replay_is_what_the_router_does(name, policy, limit):
    events, trace = events_of(name, policy, limit)
    _, alone = events_of(name, StrongAlone())
    assume(limit is None or Finish.CONTEXT not in (trace.finish, alone.finish))
    found = replay(explore(name), policy, 3, limit)
    decided = [event.action for event in events if isinstance(event, Decided)]
    assert list(found.actions) == decided[: len(found.actions)]
    if not found.complete:
        assert not found.correct
        return
    assert found.correct == trace.correct
    assert list(found.actions) == decided
    if policy.needs_scores:
        scored = [event.score for event in events if isinstance(event, Scored)]
        assert list(found.scores) == scored[: len(found.scores)]
    if trace.finish is not Finish.CONTEXT:
        assert found.strong_tokens == trace.strong_tokens
        assert found.usage["weak"].tokens == trace.usage["weak"].tokens
        denied = [s.denied for s in (*trace.abandoned, *trace.steps) if s.action != "restart"]
        assert sum(found.denied) == sum(denied)


@given(names, st.floats(0, 1), st.sampled_from([Threshold, RandomMix, Cascade]))
def test_a_complete_tree_is_replayed_completely(name, setting, family):
    assert replay(explore(name), family(setting), 3).complete


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(2, 5), names)
def test_unrecorded_steps_count_as_wrong_and_rewritten(regenerate, rollouts, name):
    weak, strong = numbered(3, "w"), numbered(10, "s")
    explorer = Explorer(
        Models(weak, strong, {}),
        ChanceScorer(),
        RouterConfig(sampling=SETTINGS),
        rollouts=rollouts,
        seed=3,
    )
    recorded = asyncio.run(explorer.explore(problem(name)))
    actions = [Action.REGENERATE if again else Action.CONTINUE for again in regenerate]
    policy = Decisions(actions, needs_scores=True)
    trace = Router(
        weak=weak,
        strong=strong,
        scorer=ChanceScorer(),
        policy=policy,
        config=RouterConfig(sampling=SETTINGS),
    ).solve(problem(name).question, 3)
    found = replay(recorded, policy, 3)
    assert found.strong_tokens >= trace.strong_tokens
    assert found.usage["weak"].tokens == trace.usage["weak"].tokens
    if found.complete:
        assert (found.correct, found.strong_tokens) == (True, trace.strong_tokens)
    else:
        assert not found.correct
        unknown = 4 - len(found.actions)
        spent = 10 * sum(action is Action.REGENERATE for action in found.actions)
        assert found.strong_tokens == spent + 10 * unknown


def test_prompt_tokens_are_estimated_from_the_steps():
    recorded = asyncio.run(
        Explorer(
            Models(numbered(3, "w"), numbered(10, "s"), {}),
            ChanceScorer(),
            RouterConfig(sampling=SETTINGS),
            rollouts=3,
            seed=3,
        ).explore(problem("x"))
    )
    # Four steps of 12 tokens have 23 characters, blank lines included, so the question's 10 are 5
    # tokens.
    assert len(problem("x").question) == 10
    kept = replay(recorded, Threshold(0), 3).usage
    assert kept["weak"] == Usage(5 + 8 + 11 + 14, 0 + 8 + 11 + 14, 12)
    assert kept["scorer"] == Usage(8 + 11 + 14 + 17, 0 + 8 + 11 + 14)
    assert kept["strong"] == Usage()
    assert replay(recorded, WeakAlone(), 3).usage == {**kept, "scorer": Usage()}
    rewritten = replay(recorded, Threshold(1), 3).usage
    assert rewritten["weak"] == Usage(5 + 15 + 25 + 35, 0 + 5 + 15 + 25, 12)
    assert rewritten["scorer"] == Usage(8 + 18 + 28 + 38, 0 + 5 + 15 + 25)
    assert rewritten["strong"] == Usage(5 + 15 + 25 + 35, 0 + 15 + 25 + 35, 40)
    strong = replay(recorded, StrongAlone(), 3).usage
    assert strong == {"weak": Usage(), "strong": rewritten["strong"], "scorer": Usage()}
    again = replay(recorded, Cascade(1), 3).usage
    assert again == {**kept, "strong": rewritten["strong"]}
    for kind in ("logprob", "entropy"):
        assert replay(recorded, Threshold(1), 3, kind=kind).usage["scorer"] == Usage()
    # One more request and one token for each step, and for each rewrite before the last.
    graded = replay(recorded, Threshold(1), 3, kind="grade").usage["scorer"]
    read = [8, *(15, 18), *(25, 28), *(35, 38)]
    assert graded == Usage(sum(read), 0 + 5 + 15 + 15 + 25 + 25 + 35, 7)
    assert replay(recorded, Threshold(0), 3, kind="grade").usage["scorer"].tokens == 4


def draws(kind, random, shape):
    """Values in [0, 1] of different shapes, and their mean."""
    match kind:
        case "coin":
            return (random.random(shape) < 0.2).astype(float), 0.2
        case "rare":
            return (random.random(shape) < 0.02).astype(float), 0.02
        case "skew":
            return random.beta(0.4, 2.0, shape), 0.4 / 2.4
        case _:
            return 0.5 + random.uniform(-0.05, 0.05, shape), 0.5


@pytest.mark.parametrize("kind", ["coin", "rare", "skew", "narrow"])
@pytest.mark.parametrize("count", [30, 150])
def test_the_betting_bound_holds_in_nine_of_ten_samples(kind, count):
    samples, mean = draws(kind, np.random.default_rng(5), (400, count))
    missed = np.mean([betting_upper(sample, 0, 1, 0.9) < mean for sample in samples])
    assert missed <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(samples))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.floats(-100, 100),
    st.floats(0.01, 100),
)
def test_the_betting_bound_moves_and_stretches_with_its_values(values, shift, scale):
    plain = betting_upper(np.array(values), 0, 1, 0.9)
    moved = betting_upper(shift + scale * np.array(values), shift, shift + scale, 0.9)
    assert 0 < plain <= 1
    assert moved == pytest.approx(shift + scale * plain, abs=1e-4 * scale + 1e-9 * abs(shift))


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.5, 0.99), st.floats(0.5, 0.99)
)
def test_more_confidence_asks_for_a_wider_bound(values, one, other):
    low, high = sorted((one, other))
    sample = np.array(values)
    assert clopper_pearson_upper(2, 40, low) <= clopper_pearson_upper(2, 40, high)
    if len(values) > 1:
        assert student_upper(sample, low) <= student_upper(sample, high)
        assert student_upper(sample, low) <= student_upper(sample, low, 10) + 1e-12


def test_the_betting_bound_closes_in_on_the_mean():
    sample = np.random.default_rng(2).beta(2, 5, 20_000)
    assert 0 < betting_upper(sample, 0, 1, 0.9) - 2 / 7 < 0.005


@pytest.mark.parametrize("chance", [0.01, 0.1, 0.37, 0.5, 0.9])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.99])
def test_the_exact_bounds_hold_exactly(chance, confidence):
    past, future = np.arange(31), np.arange(21)
    weight = binom.pmf(past, 30, chance)
    bounds = np.array([clopper_pearson_upper(int(events), 30, confidence) for events in past])
    assert weight[bounds < chance].sum() <= 1 - confidence + 1e-12
    bounds = np.array([thatcher_upper(int(events), 30, 20, confidence) for events in past])
    exceeded = future[None] / 20 > bounds[:, None] + 1e-12
    both = weight[:, None] * binom.pmf(future, 20, chance)
    assert both[exceeded].sum() <= 1 - confidence + 1e-12


def test_the_prediction_bound_holds_for_the_next_problems():
    random = np.random.default_rng(3)
    missed = [
        random.normal(1, 2, 25).mean() > student_upper(random.normal(1, 2, 40), 0.9, 25)
        for _ in range(4000)
    ]
    assert np.mean(missed) == pytest.approx(0.1, abs=0.016)


def invented(random, count, costs):
    """Outcomes of settings with these expected shares of 10 strong tokens a problem."""
    alone = Baselines(np.full(count, 10.0), np.zeros(count), np.ones(count), 10.0, 1.0)
    ranks = random.random(count)
    tried = []
    for cost in costs:
        asked = (ranks < cost).astype(float)
        tried.append(
            (
                cost,
                ReplayOutcomes(10 * asked, asked, np.maximum(asked, ranks > 0.9), np.ones(count)),
            )
        )
    return tried, alone


@pytest.mark.parametrize("guarantee", [StrongShare(0.3), Money(0.3), Accuracy(0.6)])
def test_a_violated_guarantee_is_chosen_in_at_most_one_of_ten_runs(guarantee):
    random = np.random.default_rng(11)
    costs = [round(0.05 + 0.03 * index, 2) for index in range(20)]
    broken, chosen = 0, []
    for _ in range(150):
        tried, alone = invented(random, 100, costs)
        order = reversed(tried) if guarantee.most_expensive_first else tried
        setting = choose(guarantee, order, alone)
        if setting is None:
            continue
        chosen.append(setting)
        # Right are those that the strong model solves and a tenth beside them.
        figure = min(1, setting + 0.1) if guarantee.most_expensive_first else setting
        broken += (
            figure < guarantee.value if guarantee.most_expensive_first else figure > guarantee.value
        )
    assert broken / 150 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 150)
    assert len(chosen) > 120


def test_the_choice_stops_at_the_first_that_fails():
    tried, alone = invented(np.random.default_rng(1), 200, [0.05, 0.1, 0.9, 0.1, 0.05])
    assert choose(StrongShare(0.3), tried, alone) == 0.1
    seen = []
    watched = ((cost, seen.append(cost) or outcomes) for cost, outcomes in tried)
    choose(StrongShare(0.3), ((cost, tried[len(seen) - 1][1]) for cost, _ in watched), alone)
    assert seen == [0.05, 0.1, 0.9]
    assert choose(StrongShare(0.01), tried, alone) is None


@pytest.mark.parametrize("horizon", [None, 100])
@pytest.mark.parametrize("kind", [StrongShare, Money, Accuracy])
def test_a_guarantee_holds_exactly_up_to_its_bound(kind, horizon):
    (_, (_, outcomes), _), alone = invented(np.random.default_rng(8), 300, [0.1, 0.3, 0.5])
    bound = kind(0.5, horizon=horizon).bound(outcomes, alone)
    sign = -1 if kind is Accuracy else 1
    assert kind(bound + sign * 0.002, horizon=horizon).holds(outcomes, alone)
    assert not kind(bound - sign * 0.002, horizon=horizon).holds(outcomes, alone)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A folder with a bank of 60 problems, its models said to be those that ship."""
    folder = tmp_path_factory.mktemp("bank")
    recorded_bank(folder, PROBLEMS[:60], models=identify_models(FOLDER))
    return folder


@pytest.fixture(scope="module")
def evaluator(bank):
    prices = Prices(Price(output=1), Price(output=20), Price(prompt=1))
    return ReplayEvaluator(read_bank(bank), prices)


def agg_folder(folder, models, scorer="prm", prices=(0.1, 0.01, 0.001), separate=False):
    """A router whose decisions depend on score and price; `separate`: with a network for each."""
    first = np.zeros((2, 5), np.float32)
    first[0, 0], first[1, 4] = 1, 1
    tensors = {
        "hidden1.weight": first,
        "hidden1.bias": np.zeros(2, np.float32),
        "hidden2.weight": np.eye(2, dtype=np.float32),
        "hidden2.bias": np.zeros(2, np.float32),
        "output.weight": np.array([-1, -1], np.float32),
        "output.bias": np.array([0.3], np.float32),
    }
    if separate:
        tensors = {
            f"{n}.{name}": each for n in range(len(prices)) for name, each in tensors.items()
        }
    known = PriceRange(prices[-1], prices[0])
    router = LearnedRouter("agg", PAPER, False, known, prices, tensors, scorer, models, separate)
    write_router(folder, router)
    return folder


def test_a_question_counts_once(tmp_path):
    twice = [replace(each, id=f"{each.id}-again") for each in PROBLEMS[:40]]
    recorded_bank(tmp_path / "bank", [*PROBLEMS[:40], *twice])
    words = ("calibrate", tmp_path / "bank", "--policy", "thr", "--strong-share", 0.9)
    result = run(*words, "--confidence", 0.995, "--out", tmp_path / "r.json")
    assert "40 problems were left out, whose questions others have" in result.stderr
    assert "on 40 problems of the bank" in result.stdout
    assert "strong-share: at most 90.0% in expectation, with 99.5% confidence" in result.stdout


def test_a_scorer_that_was_fitted_to_the_problems_is_named(tmp_path):
    seen = frozenset(fingerprint(each.question) for each in PROBLEMS[:30])
    recorded_bank(tmp_path / "bank", PROBLEMS[:40], seen=seen)
    words = ("calibrate", tmp_path / "bank", "--policy", "thr", "--strong-share", 0.9)
    result = run(*words, "--out", tmp_path / "r.json")
    assert "the scorer was fitted to 30 of the 40 problems of this bank" in result.stderr


def test_a_horizon_has_an_end():
    with pytest.raises(InvalidInput, match="number of problems from 1 to 1000000000"):
        Accuracy(0.8, horizon=10**19)


def recorded_bank(folder, problems, **identity):
    store = BankStore(folder, replace(IDENTITY, **identity), part_size=100)
    for each in problems:
        store.add(asyncio.run(EXPLORER.explore(each)))
    store.flush()


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(words, message):
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.output


def calibrated(bank, out, *words):
    result = run("calibrate", bank, *words, "--out", out)
    assert result.exit_code == 0, result.output
    return json.loads(out.read_text()), result


@pytest.mark.parametrize("spec", ["thr", "random", "cascade", "agg"])
@pytest.mark.parametrize(
    "guarantee", [StrongShare(0.45), Money(6e-4), Accuracy(0.2), StrongShare(0.5, horizon=50)]
)
def test_calibration_finds_the_most_expensive_setting_within_the_budget(
    spec, guarantee, evaluator, tmp_path
):
    models = evaluator.bank.identity.models
    word = f"agg:{agg_folder(tmp_path, models)}" if spec == "agg" else spec
    sweep = parse_sweep(word, evaluator.bank)
    try:
        found = calibrate(evaluator, sweep, guarantee)
    except InvalidInput:
        order = sweep.policies(guarantee.most_expensive_first)
        assert not guarantee.holds(evaluator.outcomes(next(order)[1]), evaluator.baselines)
        return
    outcomes = evaluator.outcomes(sweep.policy(found.setting))
    assert guarantee.holds(outcomes, evaluator.baselines)
    assert np.array_equal(outcomes.strong_tokens, found.outcomes.strong_tokens)
    place = sweep.settings.index(found.setting) + (-1 if guarantee.most_expensive_first else 1)
    if 0 <= place < len(sweep.settings):
        policy = sweep.policy(sweep.settings[place])
        assert not guarantee.holds(evaluator.outcomes(policy), evaluator.baselines)


def test_a_router_of_a_single_price_has_that_setting(evaluator, tmp_path):
    folder = agg_folder(tmp_path, evaluator.bank.identity.models, prices=(0.00123456,))
    sweep = parse_sweep(f"agg:{folder}", evaluator.bank)
    assert [(price, policy.price) for price, policy in sweep.policies()] == [(0.00123456,) * 2]


def observation(score):
    return Observation("q", ("a",), (score,), (3,), (), 0)


@given(st.floats(0, 1))
def test_a_router_file_is_its_policy(setting):
    file = CalibratedRouter("thr", setting, None, "prm", {})
    (policy,) = parse_policies(file.spec)
    assert policy == Threshold(setting)


def test_a_router_file_decides_as_the_setting_that_was_chosen(bank, tmp_path):
    models = read_bank(bank).identity.models
    agg_folder(tmp_path / "agg", models)
    words = ("--policy", f"agg:{tmp_path / 'agg'}", "--strong-share", "0.45")
    out = tmp_path / "router.json"
    record, result = calibrated(bank, out, *words, "--max-strong-tokens", "9")
    (router,) = parse_policies(f"router:{out}")
    (policy,) = parse_policies(f"agg:{tmp_path / 'agg'}@{record['setting']!r}")
    scores = np.linspace(0, 1, 50)
    decisions = [router.decide(observation(score)) for score in scores]
    assert decisions == [policy.decide(observation(score)) for score in scores]
    assert (router.max_strong_tokens, router.scorer) == (9, "prm")
    assert dict(router.models) == models
    assert router.name == f"router:{out}"
    assert record["file"] == "agg"
    assert record["target"] == {"strong-share": 0.45}
    assert record["figures"]["promised"] <= 0.4501
    assert Profile.from_json(record["profile"]).problems == 60
    assert "betting" in result.output
    moved = tmp_path / "elsewhere"
    (tmp_path / "agg").rename(tmp_path / "old")
    refused(["solve", "x", "--policy", f"router:{out}"], "cannot read the file")
    moved.mkdir()
    (tmp_path / "old").rename(moved / "agg")
    out.rename(moved / "router.json")
    assert parse_policies(f"router:{moved / 'router.json'}")


def test_a_budget_too_small_to_help_is_reported(bank, tmp_path):
    record, result = calibrated(
        bank, tmp_path / "r.json", "--policy", "random", "--accuracy", "0.01"
    )
    assert record["setting"] == 0
    assert "too small to help" in result.stderr
    assert "profile" not in record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this program reads 1"),
        ({"family": "oracle"}, "unknown family 'oracle'"),
        ({"scorer": "nose"}, "scores 'nose'"),
        ({"setting": 2}, "not a file that was fitted for the policy 'router'"),
        ({"setting": None}, "not a file"),
        ({"models": []}, "not a file"),
        ({"figures": 3}, "not a file"),
        ({"max_strong_tokens": -1}, "not a file"),
        ({"max_strong_tokens": True}, "not a file"),
        ({"policy": "thr"}, "not a file"),
        ({"sha256": "0"}, "changed since"),
    ],
)
def test_a_router_file_that_is_not_right_is_refused(change, message, tmp_path):
    models = {"weak": "a", "strong": "b"}
    fitted = agg_folder(tmp_path / "agg", models)
    path = tmp_path / "router.json"
    guarantee = {"target": {}, "confidence": 0.9, "horizon": None, "bound": ""}
    record = CalibratedRouter("agg", 0.01, fitted, "prm", models, 5, guarantee).to_json(path)
    path.write_text(json.dumps(record))
    assert parse_policies(f"router:{path}")
    path.write_text(json.dumps({**record, **change}))
    with pytest.raises(InvalidInput) as refusal:
        parse_policies(f"router:{path}")
    assert message in str(refusal.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"policy": "router", "version": 1}'])
def test_a_damaged_router_file_is_refused(content, tmp_path):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InvalidInput):
        parse_policies(f"router:{tmp_path / 'r.json'}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "thr"], "give one of --strong-share, --money and --accuracy"),
        (["--policy", "thr", "--money", "1", "--accuracy", "0.5"], "give one of"),
        (["--policy", "thr", "--strong-share", "0"], "between 0 and 1"),
        (["--policy", "thr", "--strong-share", "20"], "between 0 and 1"),
        (["--policy", "thr", "--strong-share", "nan"], "between 0 and 1"),
        (["--policy", "thr", "--money", "-1"], "above 0"),
        (["--policy", "thr", "--money", "1"], "give --prices FILE, or --prices example"),
        (["--policy", "thr", "--accuracy", "1"], "between 0 and 1"),
        (["--policy", "thr", "--strong-share", "0.2", "--confidence", "1"], "--confidence 1"),
        (["--policy", "thr", "--strong-share", "0.2", "--horizon", "0"], "--horizon 0"),
        (["--policy", "thr", "--strong-share", "0.2", "--max-strong-tokens", "-2"], "tokens -2"),
        (["--policy", "thr", "--strong-share", "0.00001"], "no setting of thr keeps"),
        (["--policy", "thr", "--accuracy", "0.999"], "relax the target, or collect a larger bank"),
        (["--policy", "strong", "--strong-share", "0.2"], "no family with a setting"),
        (["--policy", "thr:0.5", "--strong-share", "0.2"], "no family with a setting"),
        (["--policy", "agg", "--strong-share", "0.2"], "no family with a setting"),
        (["--policy", "agg:nowhere", "--strong-share", "0.2"], "cannot read the file"),
        (["--policy", "pomdp:nowhere", "--strong-share", "0.2"], "cannot read the file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_overwritten(words, message, bank, tmp_path):
    out = tmp_path / "router.json"
    out.write_text("as it was")
    refused(["calibrate", bank, *words, "--out", out], message)
    assert out.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["router.json"]


def test_routers_of_other_scores_or_models_are_refused(bank, tmp_path):
    models = read_bank(bank).identity.models
    agg_folder(tmp_path / "scores", models, "grade")
    agg_folder(tmp_path / "models", {**models, "weak": "another"})
    for folder, message in (("scores", "fitted to scores 'grade'"), ("models", "other models")):
        words = ["--policy", f"agg:{tmp_path / folder}", "--strong-share", "0.2"]
        refused(["calibrate", bank, *words, "--out", tmp_path / "r.json"], message)


def test_a_place_that_cannot_be_written_is_refused(bank, tmp_path):
    words = ["--policy", "thr", "--strong-share", "0.3", "--out"]
    refused(["calibrate", bank, *words, tmp_path / "no" / "r.json"], "no such folder")
    refused(["calibrate", bank, *words, tmp_path], "cannot be written")
    refused(["calibrate", tmp_path, *words, tmp_path / "r.json"], "not a bank")


def test_money_is_reported_only_with_prices(bank, tmp_path):
    words = ("--policy", "thr", "--strong-share", "0.45")
    record, result = calibrated(bank, tmp_path / "free.json", *words)
    assert record["figures"]["money"] is None and ", money" not in result.output
    record, result = calibrated(bank, tmp_path / "paid.json", *words, "--prices", "example")
    assert record["figures"]["money"] > 0 and ", money 0.0" in result.output
    words = ("--policy", "thr", "--money", "1", "--prices", "example")
    assert calibrated(bank, tmp_path / "money.json", *words)[0]["target"] == {"money": 1}


def test_few_problems_are_refused(evaluator):
    bank = Bank(evaluator.bank.identity, evaluator.bank.problems[:20])
    with pytest.raises(InvalidInput, match="20 problems are too few"):
        calibrate(ReplayEvaluator(bank, Prices()), parse_sweep("thr", bank), StrongShare(0.2))


def test_solve_and_eval_keep_the_limit_of_a_router_file(tmp_path):
    limited = CalibratedRouter(
        "thr", 1.0, None, "prm", identify_models(FOLDER), 0,
        {"target": {}, "confidence": 0.9, "horizon": None, "bound": ""},
    )  # fmt: skip
    path = tmp_path / "router.json"
    path.write_text(json.dumps(limited.to_json(path)))
    question = "Start with 47. 1) subtract 9. 2) last, add 17. What is the result?"
    trace = json.loads(run("solve", question, "--policy", f"router:{path}", "--json").stdout)
    assert trace["usage"]["strong"]["tokens"] == 0
    assert all(step["denied"] for step in trace["steps"])
    words = ["--policy", "weak", "--policy", "strong", "--policy", f"router:{path}"]
    out = tmp_path / "run"
    result = run("eval", "chain", "-n", 2, *words, "--max-strong-tokens", 40, "--out", out)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "run.json").read_text())["max_strong_tokens"] == 40
    points = json.loads((out / "summary.json").read_text())["points"]
    spent = {point["policy"]: point["strong_tokens_mean"] for point in points}
    assert spent[f"router:{path}"] == spent["weak"] == 0
    assert 40 <= spent["strong"] <= 40 - 1 + 96


def test_an_event_stream_ends_with_the_denied_steps():
    events = list(
        Router(
            weak=numbered(1, "w"),
            strong=numbered(10, "s"),
            scorer=ChanceScorer(),
            policy=Threshold(1),
            config=RouterConfig(max_strong_tokens=1),
        ).events("a question")
    )
    assert isinstance(events[-1], Finished)
    assert [step.denied for step in events[-1].trace.steps] == [False, True, True, True]
