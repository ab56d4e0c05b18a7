"""Warnings at run time: what they find, and that they keep quiet otherwise."""

import asyncio
import json
import re
from dataclasses import replace
from html import unescape
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from bank_models import EXPLORER, IDENTITY, PROBLEMS
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from rich.console import Console
from scipy.stats import ks_2samp

from trim.cli.main import main
from trim.cli.output import show_warnings
from trim.cli.solution import show_events
from trim.config import RouterConfig
from trim.configuration.source import shipped_models
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.evaluation.evaluation_page import write_report
from trim.evaluation.run import Evaluation
from trim.evaluation.suites import CHAIN, generate
from trim.evaluation.summary import summarise
from trim.evaluation.warnings import describe_warnings, little_gain, profiles_of
from trim.events import Decided
from trim.metrics.intervals import paired_interval
from trim.models.model import Completion, Ending
from trim.monitoring.checks import RouterWarning, WarningKind, denied_rewrites, few_rewrites
from trim.monitoring.monitor import FALSE_ALARM_RATE, WINDOW, Monitor
from trim.monitoring.profile import Average, Distribution, Profile, RouteRecord, route_record
from trim.policies.calibrated import CalibratedPolicy, CalibratedRouter
from trim.policies.registry import parse_policy
from trim.policies.rivals.cascade import Cascade
from trim.policies.threshold import Takeover, Threshold
from trim.rollouts.store import BankStore
from trim.router import Router
from trim.scorers.scorer import Scores
from trim.server.page.events import EventSerializer
from trim.testing import ScriptedModel
from trim.types import Action, Author, Step, Trace

DOCUMENTS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCUMENTS / "guides" / "monitoring.md"
SCHEMA = json.loads((DOCUMENTS / "summary.schema.json").read_text("utf-8"))
shares = st.floats(0, 1)
samples = st.lists(shares, min_size=1, max_size=60)
graded = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=60)


@st.composite
def records(draw, least=0):
    scores = draw(st.lists(shares, min_size=least, max_size=8))
    flags = st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))
    return RouteRecord(tuple(scores), tuple(draw(flags)), tuple(draw(flags)))


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
    for chance, quality in generator.random((6, 2)).tolist():
        good = chance < right - 0.2 * hard
        score = quality**0.125 if good else 1 - quality**0.25
        loss = shift + (after_rewrite if rewritten and rewritten[-1] else 0)
        scores.append(max(0.0, score - loss))
        desired = scores[-1] < threshold
        allowed = limit is None or sum(rewritten) < limit
        rewritten.append(desired and allowed)
        denied.append(desired and not allowed)
    return RouteRecord(tuple(scores), tuple(rewritten), tuple(denied))


def calibrated(generator, problems=400, **conditions):
    return Profile.of([solved(generator, **conditions) for _ in range(problems)])


def watched(profile, generator, problems, **conditions):
    monitor = Monitor(profile)
    for _ in range(problems):
        monitor.add(solved(generator, **conditions))
    return {warning.kind for warning in monitor.warnings()}


def test_no_warning_without_a_failure():
    generator = np.random.default_rng(7)
    alarms = 0
    for run in range(200):
        threshold = (0.2, 0.5, 0.9, 0.95)[run // 2 % 4]
        profile = calibrated(generator, threshold=threshold) if run % 2 else None
        alarms += bool(watched(profile, generator, 200, threshold=threshold))
    # What is promised is 1 % of the runs.
    assert alarms <= 4


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        ({"shift": 0.15}, WarningKind.SCORE_DRIFT),
        ({"right": 0.5}, WarningKind.SCORE_DRIFT),
        ({"after_rewrite": 0.4}, WarningKind.AFTER_INTERVENTION),
    ],
)
def test_failures_are_found_within_a_hundred_problems(conditions, kind):
    generator = np.random.default_rng(8)
    found = [watched(calibrated(generator), generator, 100, **conditions) for _ in range(20)]
    assert sum(kinds == {kind} for kinds in found) >= 18


def test_drops_after_rewrites_are_found_without_a_calibration():
    generator = np.random.default_rng(9)
    found = [watched(None, generator, 200, after_rewrite=0.6) for _ in range(10)]
    assert sum(kinds == {WarningKind.AFTER_INTERVENTION} for kinds in found) >= 9


def test_lower_scores_everywhere_are_drift():
    generator = np.random.default_rng(10)
    for threshold in (0.2, 0.5, 1.0):
        profile = calibrated(generator, threshold=threshold)
        found = watched(profile, generator, 400, threshold=threshold, shift=0.2)
        assert found == {WarningKind.SCORE_DRIFT}


def test_a_denying_budget_is_found_and_is_no_drift():
    generator = np.random.default_rng(11)
    profile = calibrated(generator, right=0.6)
    assert watched(profile, generator, 200, right=0.6, limit=1) == {WarningKind.BUDGET_TOO_SMALL}


def test_rewriting_almost_nothing_is_found():
    generator = np.random.default_rng(12)
    conditions = {"right": 0.6, "threshold": 0.001}
    profile = calibrated(generator, **conditions)
    assert watched(profile, generator, 200, **conditions) == {WarningKind.BUDGET_TOO_SMALL}


def test_drift_is_found_late_in_a_long_run_and_stays_found():
    generator = np.random.default_rng(13)
    monitor = Monitor(calibrated(generator))
    for _ in range(2600):
        monitor.add(solved(generator))
    assert not monitor.warnings()
    for _ in range(1000):
        monitor.add(solved(generator, shift=0.15))
    assert WarningKind.SCORE_DRIFT in {warning.kind for warning in monitor.warnings()}
    before = monitor.warnings()
    monitor.check()
    assert monitor.warnings() == before


def test_a_warning_is_one_line_with_figures():
    generator = np.random.default_rng(14)
    monitor = Monitor(calibrated(generator))
    for _ in range(100):
        monitor.add(solved(generator, shift=0.3, limit=0))
    assert len(monitor.warnings()) >= 2
    for warning in monitor.warnings():
        assert "\n" not in warning.text and "%" in warning.text
        assert 0 <= warning.p_value < FALSE_ALARM_RATE and 0 < warning.statistic <= 1
        assert json.loads(json.dumps(warning.to_json()))["kind"] in list(WarningKind)


def test_an_extra_check_covers_a_short_run():
    generator = np.random.default_rng(15)
    monitor = Monitor(calibrated(generator))
    for _ in range(24):
        monitor.add(solved(generator, shift=0.6))
    assert not monitor.warnings()
    monitor.check()
    assert monitor.warnings()


def test_memory_is_bounded():
    monitor = Monitor()
    for _ in range(3 * WINDOW):
        monitor.add(RouteRecord((0.9,), (False,)))
    assert len(monitor._records) == WINDOW


def test_records_without_scores_are_ignored():
    monitor = Monitor()
    for _ in range(100):
        monitor.add(RouteRecord((), ()))
    monitor.check()
    assert not monitor.warnings()


# Budgets


@given(st.lists(records(least=1), max_size=40))
def test_budget_warnings_follow_their_rules(seen):
    denial, few = denied_rewrites(seen), few_rewrites(seen)
    wanted = [record for record in seen if record.desired_rewrite]
    if denial:
        assert sum(any(record.denied) for record in wanted) > len(wanted) / 2
        assert 0 <= denial.p_value <= 1
    if few:
        assert sum(any(record.rewritten) for record in seen) < len(seen) / 10
        assert np.mean([1 - min(record.scores) for record in seen]) >= few.statistic - 1e-12
        assert 0 <= few.p_value <= 1


@given(st.lists(st.lists(shares, min_size=1, max_size=6), min_size=1, max_size=20))
def test_the_share_of_wrong_solutions_is_a_lower_bound(problems):
    # With independent steps a solution is wrong with probability 1 - product.
    warning = few_rewrites([RouteRecord(tuple(s), (False,) * len(s)) for s in problems])
    if warning:
        assert warning.statistic <= np.mean([1 - np.prod(s) for s in problems]) + 1e-12


# Profiles


@given(st.lists(records(), min_size=1, max_size=20))
def test_a_profile_survives_its_file(seen):
    if not any(record.scores for record in seen):
        with pytest.raises(InvalidInput, match="no draft has a score"):
            Profile.of(seen)
        return
    profile = Profile.of(seen)
    assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    assert profile.problems == sum(bool(record.scores) for record in seen)


@settings(max_examples=30)
@given(st.data())
def test_a_malformed_profile_is_refused(data):
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
def test_an_inconsistent_profile_is_refused(change):
    record = calibrated(np.random.default_rng(0), problems=20).to_json()
    change(record)
    with pytest.raises(InvalidInput, match="run `trim calibrate` again"):
        Profile.from_json(record)


@pytest.mark.parametrize("record", [None, [], 3, "profile"])
def test_a_profile_must_be_an_object(record):
    with pytest.raises(InvalidInput, match="not a calibration's profile"):
        Profile.from_json(record)


# Distributions and averages


@given(samples | graded, samples | graded)
def test_the_distance_is_hardly_too_small_and_never_too_large(old, new):
    found = Distribution.of(old).compare(new)
    exact = max(
        abs(np.mean(np.array(old) <= place) - np.mean(np.array(new) <= place))
        for place in (*old, *new)
    )
    assert exact - 0.01 - 1e-9 <= found.statistic <= exact + 1e-9
    assert found.current == pytest.approx(np.mean(np.array(new) <= found.value))
    assert found.reference == pytest.approx(np.mean(np.array(old) <= found.value), abs=0.01 + 1e-9)


def test_the_p_value_errs_towards_one():
    generator = np.random.default_rng(1)
    for _ in range(20):
        old, new = generator.random(500), generator.beta(1.2, 1, size=300)
        found = Distribution.of(old).compare(new)
        assert found.p_value >= ks_2samp(old, new, method="asymp").pvalue * (1 - 1e-9)


@given(samples)
def test_a_distribution_knows_its_own_sample(values):
    distribution = Distribution.of(values)
    assert distribution.size == len(values)
    assert set(distribution.places) <= set(values)
    assert distribution.compare(values).statistic == 0
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


def writer(scores):
    """A model whose three steps are their scores, the last by its own account."""

    def write(prefix):
        place = len(prefix.steps)
        ending = Ending.SOLUTION if place == 2 else Ending.STEP
        return Completion(f"step {scores[place]}", ending, 2, 0)

    return ScriptedModel(write)


def router(policy, limit=None):
    """Drafts with the scores 0.9, 0.3 and 0.8; what is strong has the score 0.95."""
    weak, strong = writer((0.9, 0.3, 0.8)), writer((0.95,) * 3)
    return Router(
        weak=weak,
        strong=strong,
        scorer=Grader(),
        policy=policy,
        config=RouterConfig(max_strong_tokens=limit),
    )


def routed(policy, limit=None):
    return router(policy, limit).solve("a question")


def test_a_record_has_scores_and_actions_of_the_trace():
    assert route_record(routed(Threshold(0.5))) == RouteRecord(
        (0.9, 0.3, 0.8), (False, True, False), (False,) * 3
    )
    assert route_record(routed(Takeover(0.5))) == RouteRecord(
        (0.9, 0.3), (False, True), (False,) * 2
    )
    assert route_record(routed(Cascade(0.5))) == RouteRecord(
        (0.9, 0.3, 0.8), (False, False, True), (False,) * 3
    )


def test_a_record_has_the_scores_of_the_weak_models_drafts_whoever_rewrote_them():
    ladder = replace(router(Threshold(0.5)), intermediate=(writer((0.6, 0.4, 0.7)),))
    trace = ladder.solve("a question")
    assert [step.score for step in trace.steps] == [0.9, 0.4, 0.8]
    record = RouteRecord((0.9, 0.3, 0.8), (False, True, False), (False,) * 3)
    assert route_record(trace) == record
    # Traces of 0.1 do not have them.
    steps = tuple(replace(step, draft_score=None) for step in trace.steps)
    assert route_record(replace(trace, steps=steps)).scores == (0.9, 0.8)


def test_a_record_has_denied_rewrites():
    record = route_record(routed(Threshold(0.5), limit=0))
    assert record == RouteRecord((0.9, 0.3, 0.8), (False,) * 3, (False, True, False))
    assert record.desired_rewrite


def test_a_replay_gives_the_record_of_its_trace():
    trace = routed(Threshold(0.5))
    record = RouteRecord.of([0.9, 0.3, 0.8], [step.action for step in trace.steps])
    assert Profile.of([record]) == Profile.of([route_record(trace)])
    assert trace.steps[1].action is Action.REGENERATE


def test_scores_after_rewritten_and_after_kept_steps():
    record = RouteRecord((0.9, 0.3, 0.8, 0.4, 0.6), (False, True, False, True, False))
    assert record.after(rewritten=True) == pytest.approx(0.7)
    assert record.after(rewritten=False) == pytest.approx(0.35)
    assert RouteRecord((0.9,), (True,)).after(rewritten=True) is None


# Evaluations and the terminal


def labelled(name, correct, records):
    """Traces of `records` by the policy `name`."""
    return [
        Trace(
            "a question",
            name,
            0,
            tuple(
                Step(
                    "a step",
                    Author.WEAK,
                    Action.REGENERATE if rewritten else Action.CONTINUE,
                    score,
                )
                for score, rewritten in zip(record.scores, record.rewritten, strict=True)
            ),
            correct=right,
        )
        for right, record in zip(correct, records, strict=True)
    ]


def test_an_evaluation_warns_of_routers_with_a_profile_alone():
    generator = np.random.default_rng(16)
    profile = calibrated(generator)
    drifted = [solved(generator, shift=0.3) for _ in range(60)]
    usual = [solved(generator) for _ in range(60)]
    right, wrong = [True] * 60, [False] * 60
    runs = {
        "weak": labelled("weak", wrong, usual),
        "thr:0.5": labelled("thr:0.5", right, drifted),
        "router:a.json": labelled("router:a.json", right, usual),
        "router:b.json": labelled("router:b.json", right, drifted),
        "router:c.json": labelled("router:c.json", wrong, usual),
    }
    profiles = dict.fromkeys(("router:a.json", "router:b.json", "router:c.json"), profile)
    found = describe_warnings(runs, profiles)
    kinds = {name: {warning["kind"] for warning in of} for name, of in found.items()}
    assert kinds == {
        "router:b.json": {WarningKind.SCORE_DRIFT},
        "router:c.json": {WarningKind.BUDGET_TOO_SMALL},
    }
    (gain,) = found["router:c.json"]
    assert gain["p_value"] is None and "0.0 points" in gain["text"]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=25, max_size=60))
def test_a_gain_that_is_shown_is_no_reason_to_warn(pairs):
    record = RouteRecord((0.9,), (False,))
    routed, weak = (
        labelled(name, correct, [record] * len(pairs))
        for name, correct in zip(("router:a", "weak"), zip(*pairs, strict=True), strict=True)
    )
    low, _ = paired_interval(*([t.correct for t in traces] for traces in (routed, weak)))
    assert bool(list(little_gain(routed, weak))) == (low <= 0)


def test_profiles_come_from_router_files():
    profile = calibrated(np.random.default_rng(17), problems=30)
    file = CalibratedRouter("thr", 0.5, None, "prm", {}, profile=profile.to_json())
    known = CalibratedPolicy(Path("a.json"), file, Threshold(0.5))
    unknown = CalibratedPolicy(Path("b.json"), replace(file, profile=None), Threshold(0.5))
    assert profiles_of([known, unknown, Threshold(0.5)]) == {"router:a.json": profile}
    damaged = CalibratedPolicy(Path("c.json"), replace(file, profile={"first": 1}), Threshold(0.5))
    with pytest.raises(InvalidInput, match=r"^c\.json: not a calibration's profile"):
        profiles_of([damaged])


def test_a_summary_with_warnings_keeps_to_its_schema_and_the_report_shows_them(tmp_path):
    generator = np.random.default_rng(18)
    drifted = [solved(generator, shift=0.3) for _ in range(30)]
    runs = {name: labelled(name, [True] * 30, drifted) for name in ("weak", "router:<b>.json")}
    warnings = describe_warnings(runs, {"router:<b>.json": calibrated(generator)})
    summary = {**summarise("hand", 0, runs, Prices()), "warnings": warnings}
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary)))
    write_report(summary, [], "<svg></svg>", tmp_path)
    shown = unescape((tmp_path / "report.html").read_text("utf-8"))
    for warning in warnings["router:<b>.json"]:
        assert f"router:<b>.json, {warning['kind']}: {warning['text']}" in shown


def test_eval_watches_a_router_file(tmp_path, monkeypatch):
    async def solve(evaluation, problem):
        names = [policy.name for policy in evaluation.policies]
        traces = (labelled(name, [True], [RouteRecord((0.9,), (False,))])[0] for name in names)
        return [replace(trace, problem_id=problem.id) for trace in traces]

    monkeypatch.setattr(Evaluation, "solve", solve)
    low = Profile.of([RouteRecord((score,), (True,)) for score in np.linspace(0, 0.1, 400)])
    promise = {"target": {}, "confidence": 0.9, "horizon": None, "bound": "none"}
    file = CalibratedRouter("thr", 0.0, None, "prm", {}, guarantee=promise, profile=low.to_json())
    path = tmp_path / "router.json"
    path.write_text(json.dumps(file.to_json(path)))
    command = ["eval", "chain", "-n", "30", "--policy", f"router:{path}"]
    ran = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "run")])
    assert ran.exit_code == 0, ran.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    (warnings,) = summary["warnings"].values()
    assert {warning["kind"] for warning in warnings} == {WarningKind.SCORE_DRIFT}
    assert all(warning["text"] in ran.output for warning in warnings)
    path.write_text(json.dumps({**file.to_json(path), "profile": {"problems": 3}}))
    refused = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "none")])
    assert refused.exit_code == 2 and "not a calibration's profile" in refused.output
    assert not (tmp_path / "none").exists()


def test_routers_below_the_step_are_watched_and_explained(tmp_path):
    """Rewrites inside a step count as rewrites; without scores there is nothing to watch."""
    promise = {"target": {}, "confidence": 0.9, "horizon": None, "bound": "none"}
    file = CalibratedRouter("thr", 0.0, None, "joint", {}, guarantee=promise)
    models = shipped_models(exact=True, slots=1)
    profile = Profile.of([RouteRecord((0.9,), (True,))])
    questions = [problem.question for problem in generate(CHAIN, 3, seed=77)]
    for spec, scored in (("token:0.9", False), ("thr:0.99+tail:0.9", True)):
        calibrated = CalibratedPolicy(tmp_path / "router.json", file, parse_policy(spec))
        routed = Router.of(models, policy=calibrated)
        traces = []
        for question in questions:
            solution = routed.begin(question)

            async def follow(solution=solution, routed=routed):
                async for event in routed.run(solution):
                    if isinstance(event, Decided):
                        told = EventSerializer(routed, None).serialize(event, solution)
                        assert told["reason"] and told["action"] == str(event.action)

            asyncio.run(follow())
            traces.append(solution.trace(calibrated.name))
        assert any(step.spans for trace in traces for step in trace.steps)
        monitor = Monitor(profile)
        for trace in traces:
            monitor.observe(trace)
            record = route_record(trace)
            assert bool(record.scores) == scored
            rewritten = [step.rewrites > 0 for step in trace.steps if step.score is not None]
            assert list(record.rewritten) == rewritten
        monitor.check()
        assert monitor.warnings() == ()
        shown = shown_by(
            lambda console, routed=routed: show_events(console, routed.events(questions[0]), None)
        )
        assert "strong: " in shown


def test_the_terminal_shows_denied_rewrites():
    denying = router(Threshold(0.5), limit=0).events("a question")
    granting = router(Threshold(0.5)).events("a question")
    shown = shown_by(lambda console: show_events(console, denying, Prices()))
    assert "at the token limit: 1\n" in shown
    shown = shown_by(lambda console: show_events(console, granting, Prices()))
    assert "denied" not in shown


def test_the_terminal_shows_a_warning_a_line():
    warning = RouterWarning(WarningKind.SCORE_DRIFT, "scores have drifted [far]", 0.4, 0.0)
    summary = {"warnings": {"router:a.json": [warning.to_json()] * 2}}
    shown = shown_by(lambda console: show_warnings(console, summary))
    assert shown == "warning router:a.json: scores have drifted [far]\n" * 2
    assert shown_by(lambda console: show_warnings(console, {})) == ""


def shown_by(show):
    console = Console(file=StringIO(), width=40)
    show(console)
    return console.file.getvalue()


# The documentation


def test_the_python_of_the_documentation_runs(tmp_path, capsys):
    store = BankStore(tmp_path, IDENTITY, part_size=10)
    for problem in PROBLEMS[:10]:
        store.add(asyncio.run(EXPLORER.explore(problem)))
    store.flush()
    bank, monitor = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(compile(bank.replace("build/bank-chain", str(tmp_path)), DOCUMENT.name, "exec"), names)
    assert isinstance(names["profile"], Profile)
    exec(compile(monitor, DOCUMENT.name, "exec"), names)
    names["monitor"].check()
    assert capsys.readouterr().out == "" and not names["monitor"].warnings()
