"""Warnings at run time: what they find, and that they keep quiet otherwise."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from trim.errors import InvalidInput
from trim.models.model import Completion, Ending
from trim.models.scripted import ScriptedModel
from trim.monitor.average import Average
from trim.monitor.budget import denied_wishes, few_rewrites
from trim.monitor.distribution import Distribution
from trim.monitor.profile import Profile, Walk, walk_of
from trim.monitor.warning import Kind
from trim.monitor.watch import FALSE_ALARMS, WINDOW, Watch
from trim.policies.cascade import Cascade
from trim.policies.policy import Action
from trim.policies.threshold import Takeover, Threshold
from trim.router import Router
from trim.scorers.scorer import Scores

shares = st.floats(0, 1)
samples = st.lists(shares, min_size=1, max_size=60)
graded = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


@st.composite
def walks(draw, least=0):
    scores = draw(st.lists(shares, min_size=least, max_size=8))
    flags = st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))
    return Walk(tuple(scores), tuple(draw(flags)), tuple(draw(flags)))


# Runs of a threshold on made-up problems, whose difficulty all their drafts share.


def solved(
    generator,
    threshold=0.5,
    right=0.85,
    shift=0.0,
    after_rewrite=0.0,
    limit=None,
):
    """One problem: right drafts score high and wrong ones low, as far as the scorer tells.

    Args:
        right: share of right drafts.
        shift, after_rewrite: what all scores lose, and those that follow a rewritten step.
        limit: rewrites that the budget allows.
    """
    scores, rewritten, denied = [], [], []
    hard = generator.random() < 0.3
    for _ in range(6):
        good = generator.random() < right - 0.2 * hard
        score = generator.beta(8, 1.5) if good else generator.beta(1.5, 4)
        loss = shift + (after_rewrite if rewritten and rewritten[-1] else 0)
        scores.append(max(0.0, score - loss))
        wish = scores[-1] < threshold
        allowed = limit is None or sum(rewritten) < limit
        rewritten.append(wish and allowed)
        denied.append(wish and not allowed)
    return Walk(tuple(scores), tuple(rewritten), tuple(denied))


def calibrated(generator, problems=400, **conditions):
    return Profile.of([solved(generator, **conditions) for _ in range(problems)])


def watched(profile, generator, problems, **conditions):
    watch = Watch(profile)
    for _ in range(problems):
        watch.add(solved(generator, **conditions))
    return {warning.kind for warning in watch.warnings()}


def test_nothing_is_said_where_nothing_is_wrong():
    generator = np.random.default_rng(7)
    alarms = 0
    for run in range(200):
        threshold = (0.2, 0.5, 0.9, 0.95)[run // 2 % 4]
        profile = calibrated(generator, threshold=threshold) if run % 2 else None
        alarms += bool(watched(profile, generator, 400, threshold=threshold))
    # What is promised is 1 % of the runs.
    assert alarms <= 4


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        ({"shift": 0.15}, Kind.SCORE_DRIFT),
        ({"right": 0.5}, Kind.SCORE_DRIFT),
        ({"after_rewrite": 0.4}, Kind.AFTER_INTERVENTION),
    ],
)
def test_what_is_wrong_is_found_within_a_hundred_problems(conditions, kind):
    generator = np.random.default_rng(8)
    found = [watched(calibrated(generator), generator, 100, **conditions) for _ in range(20)]
    assert sum(kinds == {kind} for kinds in found) >= 18


def test_drops_after_rewrites_are_found_without_a_calibration():
    generator = np.random.default_rng(9)
    found = [watched(None, generator, 200, after_rewrite=0.6) for _ in range(10)]
    assert sum(kinds == {Kind.AFTER_INTERVENTION} for kinds in found) >= 9


def test_scores_that_are_all_lower_are_no_matter_of_interventions():
    generator = np.random.default_rng(10)
    for threshold in (0.2, 0.5, 1.0):
        profile = calibrated(generator, threshold=threshold)
        found = watched(profile, generator, 400, threshold=threshold, shift=0.2)
        assert found == {Kind.SCORE_DRIFT}


def test_a_budget_that_denies_is_found_and_is_no_drift():
    generator = np.random.default_rng(11)
    profile = calibrated(generator, right=0.6)
    assert watched(profile, generator, 200, right=0.6, limit=1) == {Kind.BUDGET_TOO_SMALL}


def test_rewriting_next_to_nothing_is_found():
    generator = np.random.default_rng(12)
    conditions = {"right": 0.6, "threshold": 0.01}
    profile = calibrated(generator, **conditions)
    assert watched(profile, generator, 200, **conditions) == {Kind.BUDGET_TOO_SMALL}


def test_drift_is_found_late_in_a_long_run_and_stays_found():
    generator = np.random.default_rng(13)
    watch = Watch(calibrated(generator))
    for _ in range(2600):
        watch.add(solved(generator))
    assert not watch.warnings()
    for _ in range(1000):
        watch.add(solved(generator, shift=0.15))
    assert Kind.SCORE_DRIFT in {warning.kind for warning in watch.warnings()}
    before = watch.warnings()
    watch.look()
    assert watch.warnings() == before


def test_a_warning_says_its_figures_in_one_line():
    generator = np.random.default_rng(14)
    watch = Watch(calibrated(generator))
    for _ in range(100):
        watch.add(solved(generator, shift=0.3, limit=0))
    assert len(watch.warnings()) >= 2
    for warning in watch.warnings():
        assert "\n" not in warning.text and "%" in warning.text
        assert 0 <= warning.p_value < FALSE_ALARMS and 0 < warning.statistic <= 1
        assert json.loads(json.dumps(warning.to_json()))["kind"] in list(Kind)


def test_a_look_out_of_turn_sees_a_short_run():
    generator = np.random.default_rng(15)
    watch = Watch(calibrated(generator))
    for _ in range(24):
        watch.add(solved(generator, shift=0.6))
    assert not watch.warnings()
    watch.look()
    assert watch.warnings()


def test_memory_is_bounded():
    watch = Watch()
    for _ in range(3 * WINDOW):
        watch.add(Walk((0.9,), (False,)))
    assert len(watch._walks) == WINDOW


def test_what_has_no_scores_says_nothing():
    watch = Watch()
    for _ in range(100):
        watch.add(Walk((), ()))
    watch.look()
    assert not watch.warnings()


# Budgets


@given(st.lists(walks(least=1), max_size=40))
def test_budget_warnings_have_their_reasons(seen):
    denial, few = denied_wishes(seen), few_rewrites(seen)
    wanted = [walk for walk in seen if walk.wanted]
    if denial:
        assert sum(any(walk.denied) for walk in wanted) > len(wanted) / 2
        assert 0 <= denial.p_value <= 1
    if few:
        assert sum(any(walk.rewritten) for walk in seen) < len(seen) / 10
        assert np.mean([1 - min(walk.scores) for walk in seen]) >= few.statistic - 1e-12
        assert 0 <= few.p_value <= 1


@given(st.lists(st.lists(shares, min_size=1, max_size=6), min_size=1, max_size=20))
def test_no_more_wrong_solutions_are_claimed_than_calibrated_scores_promise(problems):
    # With independent steps a solution is wrong with probability 1 - product.
    warning = few_rewrites([Walk(tuple(s), (False,) * len(s)) for s in problems])
    if warning:
        assert warning.statistic <= np.mean([1 - np.prod(s) for s in problems]) + 1e-12


# Profiles


@given(st.lists(walks(), min_size=1, max_size=20))
def test_a_profile_survives_its_file(seen):
    if not any(walk.scores for walk in seen):
        with pytest.raises(InvalidInput, match="no draft has a score"):
            Profile.of(seen)
        return
    profile = Profile.of(seen)
    assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    assert profile.problems == sum(bool(walk.scores) for walk in seen)


@settings(max_examples=30)
@given(st.data())
def test_anything_else_is_no_profile(data):
    record = calibrated(np.random.default_rng(0), problems=20).to_json()
    wrong = [None, "x", [], {}, True, -1, 1e9, float("nan")]
    key = data.draw(st.sampled_from(sorted(record)))
    record[key] = data.draw(st.sampled_from(wrong))
    with pytest.raises(InvalidInput, match="not a calibration's profile") as error:
        Profile.from_json(record)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("first"),
        lambda record: record.update(wanted=record["problems"] + 1),
        lambda record: record.update(problems=record["problems"] + 0.5),
        lambda record: record["first"].update(places=[0.5, 0.4]),
        lambda record: record["first"]["counts"].append(99),
        lambda record: record["drafts"]["places"].__setitem__(-1, 1.5),
        lambda record: record["after_kept"].update(deviation=-0.1),
        lambda record: record["after_kept"].update(mean=1.2),
    ],
)
def test_a_profile_that_cannot_be_is_refused(change):
    record = calibrated(np.random.default_rng(0), problems=20).to_json()
    change(record)
    with pytest.raises(InvalidInput, match="calibrate the router anew"):
        Profile.from_json(record)


@pytest.mark.parametrize("record", [None, [], 3, "profile"])
def test_what_is_no_object_is_no_profile(record):
    with pytest.raises(InvalidInput, match="not a calibration's profile"):
        Profile.from_json(record)


# Distributions and averages


@given(samples | graded, samples | graded)
def test_the_distance_is_never_too_large(old, new):
    distance = Distribution.of(old).against(new).statistic
    exact = max(
        abs(np.mean(np.array(old) <= place) - np.mean(np.array(new) <= place))
        for place in (*old, *new)
    )
    assert distance <= exact + 1e-12


@given(graded, graded)
def test_the_distance_of_few_levels_is_that_of_the_shares(old, new):
    found = Distribution.of(old).against(new)
    assert found.here == pytest.approx(np.mean(np.array(new) <= found.place))
    assert found.there == pytest.approx(np.mean(np.array(old) <= found.place))


def test_the_distance_is_hardly_too_small():
    generator = np.random.default_rng(1)
    for _ in range(20):
        old, new = generator.random(500), generator.beta(1.2, 1, size=300)
        found = Distribution.of(old).against(new)
        exact = ks_2samp(old, new, method="asymp")
        assert exact.statistic - 0.01 - 1e-9 <= found.statistic <= exact.statistic
        assert found.p_value >= exact.pvalue * (1 - 1e-9)


@given(samples)
def test_a_distribution_knows_its_own_sample(values):
    distribution = Distribution.of(values)
    assert distribution.size == len(values)
    assert set(distribution.places) <= set(values)
    assert distribution.against(values).statistic == 0
    for place, count in zip(distribution.places, distribution.counts, strict=True):
        assert count == sum(value <= place for value in values)


@given(samples)
def test_an_average_survives_its_file(values):
    average = Average.of(values)
    assert average.mean == pytest.approx(sum(values) / len(values))
    assert Average.from_json(json.loads(json.dumps(average.to_json()))) == average


# Walks of real traces


class Grader:
    """Scores each step by the number in its text."""

    name = "grader"

    async def score(self, trace, written):
        values = tuple(float(step.text.split()[-1]) for step in written)
        return Scores(values, prompt_tokens=0)


def routed(policy, limit=None):
    """Three drafts with scores 0.9, 0.3 and 0.8; what is strong has the score 0.95."""

    def writer(scores):
        def write(prefix):
            last = len(prefix.steps) == 2
            ending = Ending.SOLUTION if last else Ending.STEP
            return Completion(f"step {scores[len(prefix.steps)]}", ending, 2, 0)

        return ScriptedModel(write)

    weak, strong = writer((0.9, 0.3, 0.8)), writer((0.95,) * 3)
    return Router(weak, strong, Grader(), policy, max_strong_tokens=limit).solve("a question")


def test_a_walk_is_what_the_router_saw_and_did():
    assert walk_of(routed(Threshold(0.5))) == Walk(
        (0.9, 0.3, 0.8), (False, True, False), (False,) * 3
    )
    assert walk_of(routed(Takeover(0.5))) == Walk((0.9, 0.3), (False, True), (False,) * 2)
    assert walk_of(routed(Cascade(0.5))) == Walk(
        (0.9, 0.3, 0.8), (False, False, True), (False,) * 3
    )


def test_a_walk_knows_what_was_denied():
    walk = walk_of(routed(Threshold(0.5), limit=0))
    assert walk == Walk((0.9, 0.3, 0.8), (False,) * 3, (False, True, False))
    assert walk.wanted


def test_a_replay_gives_the_walk_of_its_trace():
    trace = routed(Threshold(0.5))
    walk = Walk.of([0.9, 0.3, 0.8], [step.action for step in trace.steps])
    assert Profile.of([walk]) == Profile.of([walk_of(trace)])
    assert trace.steps[1].action is Action.REGENERATE


def test_drafts_are_told_apart_by_the_step_before():
    walk = Walk((0.9, 0.3, 0.8, 0.4, 0.6), (False, True, False, True, False))
    assert walk.after(rewritten=True) == pytest.approx(0.7)
    assert walk.after(rewritten=False) == pytest.approx(0.35)
    assert Walk((0.9,), (True,)).after(rewritten=True) is None
