"""Audits of scorers: figures that mean what they say, and verdicts that follow from them."""

import asyncio
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from bank_models import IDENTITY, PROBLEMS, SETTINGS, writer
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import ks_2samp

from trim.cli.main import main
from trim.cli.output import print_page
from trim.config import RouterConfig
from trim.configuration.source import Models
from trim.evaluation.report import Page, Picture, Table, write_page
from trim.metrics.metrics import area_under_curve
from trim.numerics import uniform
from trim.rollouts.bank import Trajectory, read_bank
from trim.rollouts.collect import record_problems
from trim.rollouts.explorer import Explorer
from trim.rollouts.import_traces import import_traces
from trim.rollouts.store import BankStore
from trim.scorers.scorer import Scores
from trim.studies.audit import (
    AGGREGATES,
    DRAFTS,
    LAST,
    LOST,
    MEAN,
    PRODUCT,
    REPAIRABLE,
    STRONG,
    STRONG_LOWEST,
    WITHIN,
    audit,
)
from trim.studies.audit_comparison import compare_audits
from trim.studies.detection import (
    FirstErrorFinder,
    below,
    detection,
    detection_curve,
    first_rewrites,
)
from trim.studies.fitness import (
    LOWEST,
    Area,
    Fitness,
    area_of,
    area_within,
    auc_within,
    judge,
    resampled_areas,
)
from trim.studies.reliability import (
    reliability_of,
    resampled_errors,
    shift_of_all,
    shift_of_firsts,
    stability_index,
)
from trim.studies.resamples import interval_of
from trim.studies.sample import Sample, draft_scores, judged_steps, lowest_scores, sample_of

SHARED = Path(__file__).parents[2] / "shared" / "data" / "reference"

rows = st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans(), st.integers(0, 5))
samples = st.lists(rows, min_size=1, max_size=40).map(
    lambda listed: sample_of((*row, 1 + index % 4) for index, row in enumerate(listed))
)
mixed = samples.filter(lambda sample: 0 < sample.wrong < len(sample))


def random_sample(count, seed=0, problems=None):
    """Scores that are the probabilities of being right."""
    random = np.random.default_rng(seed)
    scores = random.uniform(size=count) ** 0.3
    problem = np.arange(count) % (problems or count)
    return Sample(scores, random.uniform(size=count) < scores, problem, 1 + np.arange(count) % 9)


# Areas


@given(mixed)
def test_the_area_is_the_share_of_pairs_in_order(sample):
    right, wrong = sample.scores[sample.right], sample.scores[~sample.right]
    won = np.mean([(r > w) + (r == w) / 2 for r in right for w in wrong])
    assert area_under_curve(sample.right, sample.scores) == pytest.approx(won)


@given(mixed)
def test_only_the_order_of_scores_counts(sample):
    area = area_under_curve(sample.right, sample.scores)
    assert area_under_curve(sample.right, sample.scores**3 / 2 + 0.1) == pytest.approx(area)
    assert area_under_curve(sample.right, -sample.scores) == pytest.approx(1 - area)
    assert area_under_curve(~sample.right, sample.scores) == pytest.approx(1 - area)


@settings(max_examples=15)
@given(mixed)
def test_drawing_every_problem_once_gives_the_area_itself(sample):
    """Of one problem all draws are the sample, whatever ties there are."""
    one = replace(sample, problem=np.zeros(len(sample), dtype=np.int64))
    assert resampled_areas(one) == pytest.approx(area_under_curve(one.right, one.scores))


def test_an_interval_has_its_area_and_narrows_with_more_problems():
    few, many = area_of(random_sample(200)), area_of(random_sample(3200))
    for area in (few, many):
        assert area.interval[0] < area.auc < area.interval[1]
    widths = [area.interval[1] - area.interval[0] for area in (few, many)]
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)


def test_steps_of_one_problem_are_not_counted_as_many():
    """Twenty copies of each problem's step tell no more than one."""
    once = random_sample(150)
    copied = sample_of(
        row
        for row in zip(once.scores, once.right, once.problem, once.step, strict=True)
        for _ in range(20)
    )
    assert area_of(copied).interval == pytest.approx(area_of(once).interval)


@given(samples)
def test_the_area_within_problems_is_the_share_of_their_pairs_in_order(sample):
    won = [
        (right > wrong) + (right == wrong) / 2
        for problem in np.unique(sample.problem)
        for right in sample.scores[(sample.problem == problem) & sample.right]
        for wrong in sample.scores[(sample.problem == problem) & ~sample.right]
    ]
    assert auc_within(sample) == pytest.approx(np.mean(won) if won else np.nan, nan_ok=True)


@given(samples)
def test_there_is_no_area_of_right_ones_alone(sample):
    right = replace(sample, right=np.ones(len(sample), dtype=np.bool_))
    assert area_of(right) is None


# Reliability


def test_scores_that_are_probabilities_are_calibrated():
    found = reliability_of(random_sample(40_000))
    for error, chance in (
        (found.error, found.chance),
        (found.error_by_step, found.chance_by_step),
    ):
        assert chance / 3 < error < 3 * chance < 0.02


def test_chance_is_what_calibrated_scores_show_on_average():
    found = [reliability_of(random_sample(300, seed)) for seed in range(200)]
    mean = np.mean([each.error for each in found])
    assert mean == pytest.approx(np.mean([each.chance for each in found]), rel=0.1)


@given(samples)
def test_bins_hold_every_score_once_and_in_order(sample):
    found = reliability_of(sample)
    assert sum(bin.count for bin in found.bins) == len(sample)
    for bin, later in zip(found.bins, found.bins[1:], strict=False):
        assert bin.high < later.low
    of_bins = sum(bin.count * abs(bin.right - bin.score) for bin in found.bins) / len(sample)
    assert found.error == pytest.approx(of_bins)


@given(samples)
def test_errors_have_their_bounds(sample):
    found = reliability_of(sample)
    overall = abs(float(np.mean(sample.right - sample.scores)))
    assert overall - 1e-9 <= found.error <= 1
    assert overall**2 - 1e-9 <= found.brier <= 1


def test_bins_of_distinct_scores_are_of_equal_mass():
    found = reliability_of(random_sample(1000))
    assert [bin.count for bin in found.bins] == [100] * 10


def test_scores_that_mean_less_at_late_steps_are_found():
    sample = random_sample(20_000)
    late = replace(sample, right=sample.right & ((sample.step < 6) | (sample.scores > 0.9)))
    assert reliability_of(late).error_by_step > 0.1
    assert reliability_of(sample).error_by_step < 0.02


@settings(max_examples=15)
@given(samples)
def test_drawing_every_problem_once_gives_the_errors_themselves(sample):
    one = replace(sample, problem=np.zeros(len(sample), dtype=np.int64))
    found = reliability_of(one)
    errors, briers = resampled_errors(one)
    assert errors == pytest.approx(np.full(2000, found.error))
    assert briers == pytest.approx(np.full(2000, found.brier))


def test_intervals_of_errors_count_problems_not_solutions():
    once = random_sample(150)
    copied = sample_of(
        row
        for row in zip(once.scores, once.right, once.problem, once.step, strict=True)
        for _ in range(20)
    )
    for few, many in zip(resampled_errors(once), resampled_errors(copied), strict=True):
        assert interval_of(few) == pytest.approx(interval_of(many))


# Detection


@settings(max_examples=30)
@given(mixed)
def test_the_curve_is_what_each_threshold_finds(sample):
    curve = detection_curve(sample)
    for threshold, precision, recall in zip(
        curve.thresholds, curve.precision, curve.recall, strict=True
    ):
        found = detection(sample, threshold)
        assert (found.precision, found.recall) == pytest.approx((precision, recall))
    assert curve.recall[-1] == 1
    assert np.all(np.diff(curve.recall) >= 0)


@given(mixed, st.floats(0, 1))
def test_no_threshold_has_a_higher_f1_than_the_best(sample, threshold):
    best, f1 = detection_curve(sample).best
    found, at_best = detection(sample, threshold), detection(sample, best)
    assert f1 == pytest.approx(harmonic(at_best))
    assert harmonic(found) <= f1 + 1e-9


def harmonic(found):
    p, r = found.precision or 0, found.recall
    return 2 * p * r / (p + r) if p + r else 0


@given(mixed, st.integers(2, 10))
def test_a_thinned_curve_keeps_its_ends(sample, points):
    curve = detection_curve(sample)
    thinned = curve.thinned(points)
    assert len(thinned.recall) <= points
    assert set(thinned.thresholds) <= set(curve.thresholds)
    assert thinned.recall[-1] == curve.recall[-1]


def test_threshold_1_finds_a_score_of_1_as_the_router_does():
    assert below(np.array([0.4, 1.0]), 1).all()
    assert not below(np.array([0.0, 1.0]), 0).any()


def solution(scores, right):
    return Trajectory("p", tuple(scores), (5,) * len(scores), tuple(right), all(right))


def test_a_first_rewrite_is_on_the_error_before_or_after_it():
    solutions = [
        solution([0.9, 0.2, 0.9], [True, False, True]),
        solution([0.2, 0.2, 0.9], [True, False, True]),
        solution([0.9, 0.8, 0.2], [True, False, False]),
        solution([0.9, 0.8, 0.9], [True, True, False]),
        solution([0.9, 0.8, 0.9], [True, True, True]),
    ]
    found = first_rewrites(solutions, 0.5)
    assert (found.on_error, found.needless, found.late, found.missed, found.left) == (0.2,) * 5


@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=6),
        min_size=1,
        max_size=8,
    ),
    st.floats(0, 1),
)
def test_first_rewrites_are_shares_of_all_solutions(written, threshold):
    found = first_rewrites([solution(*zip(*steps, strict=True)) for steps in written], threshold)
    shares = (found.on_error, found.needless, found.late, found.missed, found.left)
    assert sum(shares) == pytest.approx(1)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.6, 1.0]), st.booleans()), min_size=1),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from([0.2, 0.5, 0.9, 1.0]),
)
def test_first_errors_are_found_where_the_first_low_score_is(written, threshold):
    solutions = [solution(*zip(*steps, strict=True)) for steps in written]
    finder = FirstErrorFinder(solutions, np.arange(len(solutions)))
    assume(finder.is_applicable)
    hits = {True: [], False: []}
    for each in solutions:
        low = [place for place, score in enumerate(each.scores) if score < threshold]
        low = list(range(len(each.scores))) if threshold == 1 else low
        wrong = [place for place, right in enumerate(each.right) if not right]
        hits[bool(wrong)].append(low[:1] == wrong[:1])
    found = finder.at(threshold)
    a, b = np.mean(hits[True]), np.mean(hits[False])
    assert (found.found, found.clean) == pytest.approx((a, b))
    assert found.f1 == pytest.approx(2 * a * b / (a + b) if a + b else 0)
    best = finder.best_threshold(np.array([0.2, 0.5, 0.9, 1.0]))
    assert finder.at(best).f1 >= found.f1


# Drift


@settings(max_examples=30)
@given(mixed, mixed)
def test_the_distance_is_that_of_the_usual_test(now, earlier):
    expected = ks_2samp(now.scores, earlier.scores, method="asymp").statistic
    assert shift_of_firsts(now, earlier).statistic == pytest.approx(expected)
    assert shift_of_all(now, earlier).statistic == pytest.approx(expected)


@given(mixed, mixed)
def test_a_stability_index_is_0_for_equal_scores_and_never_less(now, earlier):
    assert stability_index(now.scores, now.scores) == pytest.approx(0)
    assert stability_index(now.scores, earlier.scores) >= 0


def test_alike_banks_have_not_drifted_and_others_have():
    one, other = (random_sample(600, seed, problems=100) for seed in (1, 2))
    lower = replace(other, scores=other.scores**2)
    assert not shift_of_all(one, other).shifted
    assert shift_of_all(one, lower).shifted
    assert not shift_of_firsts(one, other).shifted
    assert shift_of_firsts(one, lower).shifted


def test_many_scores_of_few_problems_are_no_drift():
    """The usual test finds some, as it takes the scores of a problem for independent."""
    random = np.random.default_rng(5)
    banks = [
        Sample(
            np.repeat(random.uniform(size=8), 50),
            np.ones(400, dtype=np.bool_),
            np.repeat(np.arange(8), 50),
            np.tile(np.arange(1, 51), 8),
        )
        for _ in range(2)
    ]
    assert shift_of_firsts(*banks).p_value < 1e-3
    assert shift_of_all(*banks).p_value > 0.05


# Verdicts


def area(auc, low, high):
    return Area(100, 30, auc, (low, high))


GOOD = {REPAIRABLE: area(0.9, 0.85, 0.95), LOWEST: area(0.8, 0.75, 0.85)}
CALIBRATED = reliability_of(random_sample(5000))
TIMELY = first_rewrites([solution([0.9, 0.2], [True, False])], 0.5)
LATE = first_rewrites([solution([0.9, 0.2], [False, False])], 0.5)


@pytest.mark.parametrize(
    ("areas", "reliability", "rewrites", "verdict", "reason"),
    [
        (GOOD, CALIBRATED, TIMELY, Fitness.THRESHOLD, "is above 0.7"),
        (
            {**GOOD, REPAIRABLE: area(0.6, 0.5, 0.7)},
            CALIBRATED,
            TIMELY,
            Fitness.NOT,
            "0.600 (0.500–0.700) may be 0.5",
        ),
        (
            {**GOOD, LOWEST: area(0.72, 0.69, 0.8)},
            CALIBRATED,
            TIMELY,
            Fitness.PLAN,
            "lowest score of a solution 0.720 (0.690–0.800) may be below 0.7",
        ),
        (
            GOOD,
            replace(CALIBRATED, error=0.3),
            TIMELY,
            Fitness.PLAN,
            "error is 0.300 overall",
        ),
        (
            GOOD,
            replace(CALIBRATED, error_by_step=0.2),
            TIMELY,
            Fitness.PLAN,
            "error is 0.200 by step number",
        ),
        (GOOD, CALIBRATED, LATE, Fitness.PLAN, "in 100.0 % of the solutions, and on it in 0.0 %"),
    ],
)
def test_a_verdict_gives_the_reason_that_it_has(areas, reliability, rewrites, verdict, reason):
    judgement = judge(areas, REPAIRABLE, reliability, rewrites)
    assert judgement.verdict is verdict
    assert reason in "; ".join(judgement.reasons)


def test_without_labels_the_lowest_score_decides():
    assert judge({LOWEST: GOOD[LOWEST]}, LOWEST, None, None).verdict is Fitness.THRESHOLD
    assert judge({LOWEST: area(0.6, 0.4, 0.8)}, LOWEST, None, None).verdict is Fitness.NOT


# Banks


def calibrated_score(question, steps):
    return uniform("score", question, tuple(steps)) ** 0.3


def is_right(problem, earlier, step):
    """As likely as the score of the same steps says."""
    steps = (*earlier, step)
    score = calibrated_score(problem.question, steps)
    return uniform("right", problem.question, steps) < score


class CalibratedScorer:
    """Scores a step by the probability that `is_right` accepts it."""

    name = "calibrated"

    async def score(self, trace, written):
        ends = range(len(trace.steps) - len(written) + 1, len(trace.steps) + 1)
        scores = tuple(calibrated_score(trace.question, trace.steps[:end]) for end in ends)
        return Scores(scores, 1)


def record_bank(folder, problems, identity=IDENTITY):
    strong, weak = writer("strong"), writer("weak")
    explorer = Explorer(
        Models(weak, strong, {}),
        CalibratedScorer(),
        RouterConfig(sampling=SETTINGS, max_steps=5),
        rollouts=6,
        check=is_right,
        seed=1,
    )
    store = BankStore(folder, identity, part_size=500)
    asyncio.run(record_problems(store, explorer, iter(problems)))
    return folder


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return record_bank(tmp_path_factory.mktemp("audit") / "bank", PROBLEMS[:100])


def trace_line(number, correct, scores, answer="1"):
    written = {
        "steps": [f"step {i} is text" for i in range(len(scores))],
        "prm_scores": scores,
        "step_tokens": [5] * len(scores),
        "tokens": 5 * len(scores),
        "correct": correct,
        "answer": answer,
    }
    record = {"id": f"i-{number}", "query": "q", "answer": "1", "dataset": "elsewhere"}
    return json.dumps({**record, "weak": written, "strong": written})


def imported(folder, lines):
    file = folder / "traces.jsonl"
    file.write_text("\n".join(lines))
    import_traces(file, folder / "bank")
    return folder / "bank"


def run(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def refusal(result):
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("trim: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_drafts_up_to_the_first_error_are_those_after_right_steps(bank):
    """Every draft is in one of the two; along the weak solutions they part at the error."""
    recorded = read_bank(bank)
    steps = judged_steps(recorded)
    assert len(steps.repairable) + len(steps.lost) == len(steps.drafts)
    assert len(steps.drafts) == sum(len(problem.nodes) for problem in recorded.problems)
    starts = np.cumsum([0, *(len(problem.nodes) for problem in recorded.problems)])
    for start, problem in zip(starts, recorded.problems, strict=False):
        sound = True
        for node in problem.rollouts[0].nodes:
            assert steps.sound[start + node] == sound
            sound = sound and problem.nodes[node].draft_right


def test_a_calibrated_scorer_is_found_to_be_one(bank):
    found = audit(read_bank(bank), bank)
    assert found.reliability.error < 3 * found.reliability.chance
    for name in (DRAFTS, STRONG, REPAIRABLE, LOST):
        assert found.areas[name].auc > 0.6


def test_lowest_scores_leave_out_solutions_without_an_answer(bank):
    recorded = read_bank(bank)
    answered = [p for p in recorded.problems if p.weak.answer is not None]
    lowest = lowest_scores(recorded)
    assert 0 < len(lowest) < len(recorded.problems)
    assert sorted(lowest.scores) == sorted(min(s.score for s in p.weak.steps) for p in answered)
    assert audit(recorded, bank).unfinished == len(recorded.problems) - len(lowest)


def test_the_command_writes_all_that_it_found(bank, tmp_path):
    out = tmp_path / "new" / "audit"
    ran = run("audit", bank, "--out", out)
    assert ran.exit_code == 0, ran.output
    names = {"audit.json", "report.html"}
    names |= {f"{n}.{kind}" for n in ("reliability", "precision-recall") for kind in ("svg", "png")}
    assert {path.name for path in out.iterdir()} == names
    record = json.loads((out / "audit.json").read_text())
    assert record["problems"] == 100
    verdict = record["judgement"]["verdict"].lower()
    assert verdict in ran.stdout.lower()
    printed = run("audit", bank, "--json")
    assert json.loads(printed.stdout) == record
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2
    assert verdict in page.lower()


def test_a_bank_against_itself_has_not_drifted(bank):
    ran = run("audit", bank, "--against", bank, "--json")
    drift = json.loads(ran.stdout)["drift"]
    assert not drift["found"]
    assert drift["first"]["statistic"] == drift["every"]["statistic"] == drift["auc"] == 0
    assert drift["first"]["p_value"] == drift["every"]["p_value"] == 1
    assert "No drift from" in run("audit", bank, "--against", bank).stdout


def test_an_imported_bank_is_audited_by_its_answers(tmp_path):
    lines = [trace_line(n, n % 3 > 0, [0.9, 0.2 + 0.2 * (n % 3)]) for n in range(60)]
    folder = imported(tmp_path, lines)
    record = json.loads(run("audit", folder, "--json").stdout)
    assert not record["labelled"]
    assert set(record["areas"]) == {*AGGREGATES, STRONG_LOWEST}
    assert record["areas"][LOWEST]["auc"] == 1
    assert record["judgement"]["verdict"] == Fitness.THRESHOLD
    assert "no labels of steps" in " ".join(run("audit", folder).stdout.split())


def test_scores_that_tell_nothing_are_not_to_route_with(tmp_path):
    random = np.random.default_rng(3)
    lines = [trace_line(n, bool(n % 2), [random.uniform(), 0.9]) for n in range(200)]
    ran = run("audit", imported(tmp_path, lines))
    assert "Do not route with it." in ran.stdout


def test_the_reference_traces_are_fit_for_thresholding(tmp_path):
    """Their authors report 0.936 for other models on the same problems."""
    file = SHARED / "qwen3_1.7b_14b_math500_traces.jsonl"
    if not file.exists():
        pytest.skip("needs the reference traces in ../shared, beside this checkout")
    import_traces(file, tmp_path / "bank")
    found = audit(read_bank(tmp_path / "bank"), tmp_path / "bank")
    assert 0.85 < found.areas[LOWEST].auc < 0.95
    assert found.judgement.verdict is Fitness.THRESHOLD


def solutions_file(folder, answers, scores=("prm_scores",), seed=0):
    """A file with several solutions of each problem; answers are lists of right or wrong."""
    random = np.random.default_rng(seed)

    def written(correct):
        made = {
            name: [round(float(random.uniform()) ** (0.4 if correct else 1), 4) for _ in range(4)]
            for name in scores
        }
        return {"correct": correct, "tokens": 90, "step_chars": [30, 60, 90, 120], **made}

    file = folder / "solutions.jsonl"
    lines = (
        {"id": f"p-{number}", "solutions": [written(correct) for correct in listed]}
        for number, listed in enumerate(answers)
    )
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


MANY = [[number % 3 > 0, number % 4 > 0, number % 5 > 0] for number in range(40)]


def test_solutions_of_one_problem_are_resampled_together(tmp_path):
    import_traces(solutions_file(tmp_path, MANY), tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    found = audit(bank, tmp_path / "bank")
    assert (found.problems, found.solutions) == (40, 120)
    assert found.right == pytest.approx(np.mean(MANY))
    sample = lowest_scores(bank)
    assert found.areas[LOWEST] == area_of(sample)
    assert np.bincount(sample.problem).tolist() == [3] * 40
    assert found.areas[WITHIN] == area_within(sample)
    assert found.error_interval == interval_of(resampled_errors(sample)[0])
    assert len(draft_scores(bank, first=True)) == 40
    trajectories = bank.trajectories()
    right = [each.correct for each in trajectories]
    for name, values in (
        (PRODUCT, [np.prod(each.scores) for each in trajectories]),
        (MEAN, [np.mean(each.scores) for each in trajectories]),
        (LAST, [each.scores[-1] for each in trajectories]),
    ):
        assert found.areas[name].auc == pytest.approx(area_under_curve(right, values))


@pytest.mark.parametrize("problems", [1, 2, 9])
def test_many_solutions_of_few_problems_are_not_judged(tmp_path, problems):
    """Intervals resample problems: that of one problem has width 0."""
    answers = [[number % 3 > 0 for number in range(40)]] * problems
    import_traces(solutions_file(tmp_path, answers), tmp_path / "bank")
    message = refusal(run("audit", tmp_path / "bank"))
    assert f"problems with wrong solutions: {problems}, but an audit needs at least 10" in message


def test_few_problems_with_both_have_no_area_of_their_own(tmp_path):
    answers = [[True, number > 0] for number in range(10)] + [[False, False]] * 10
    import_traces(solutions_file(tmp_path, answers), tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    assert audit(bank, tmp_path / "bank").areas[WITHIN] is None
    found = compare_audits([(tmp_path / "bank", bank), (tmp_path / "same", bank)])
    assert {each.of for each in found.differences} == {*AGGREGATES}
    assert run("audit", tmp_path / "bank").exit_code == 0


def test_scorers_of_the_same_solutions_are_compared(tmp_path):
    file = solutions_file(tmp_path, MANY, ("one", "other"))
    for name in ("one", "other"):
        import_traces(file, tmp_path / name, scores=name)
    banks = [tmp_path / "one", tmp_path / "other"]
    ran = run("audit", *banks, "--out", tmp_path / "audit")
    assert ran.exit_code == 0, ran.output
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    alone = [json.loads(run("audit", bank, "--json").stdout) for bank in banks]
    assert record["banks"] == alone
    assert json.loads(run("audit", *banks, "--json").stdout) == record
    by_name = {each["of"]: each for each in record["differences"]}
    assert set(by_name) == {*AGGREGATES, WITHIN}
    difference = by_name[LOWEST]["auc"]
    areas = [each["areas"][LOWEST]["auc"] for each in alone]
    assert difference == pytest.approx(areas[1] - areas[0])
    low, high = by_name[LOWEST]["interval"]
    assert low < difference < high
    page = (tmp_path / "audit" / "report.html").read_text()
    assert page.count("<svg") == 1
    assert "lowest, of one problem" in page


def test_a_bank_compared_with_itself_differs_by_nothing(tmp_path):
    import_traces(solutions_file(tmp_path, MANY), tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    found = compare_audits([(tmp_path / "bank", bank), (tmp_path / "same", bank)])
    assert {each.of for each in found.differences} == {*AGGREGATES, WITHIN}
    assert all((each.auc, each.interval) == (0, (0, 0)) for each in found.differences)


def test_banks_of_other_problems_have_no_difference(bank, tmp_path):
    import_traces(solutions_file(tmp_path, MANY), tmp_path / "other")
    record = json.loads(run("audit", bank, tmp_path / "other", "--json").stdout)
    assert not record["differences"]
    assert [each["labelled"] for each in record["banks"]] == [True, False]


def test_a_bank_that_is_named_twice_is_audited_alone(tmp_path):
    import_traces(solutions_file(tmp_path, MANY), tmp_path / "bank")
    bank = tmp_path / "bank"
    assert run("audit", bank, bank, "--json").stdout == run("audit", bank, "--json").stdout


@pytest.mark.parametrize(
    ("queries", "datasets", "paired"),
    [
        (("What is 1?", "What is 1?"), ("one", "other"), True),
        (("What is 1?", "What is 2?"), ("one", "one"), False),
        ((None, None), ("one", "one"), True),
        ((None, None), ("one", "other"), False),
        (("What is 1?", None), ("one", "one"), True),
        (("What is 1?", None), ("one", "other"), False),
    ],
)
def test_equal_ids_alone_are_not_the_same_problems(tmp_path, queries, datasets, paired):
    file = solutions_file(tmp_path, MANY)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    banks = []
    for place, (query, dataset) in enumerate(zip(queries, datasets, strict=True)):
        asked = [line if query is None else {**line, "query": query} for line in lines]
        file.write_text("\n".join(map(json.dumps, asked)))
        folder = tmp_path / f"bank-{place}"
        banks.append((folder, import_traces(file, folder, dataset=dataset)))
    assert bool(compare_audits(banks).differences) == paired


def labelled_file(folder, labels, seed=0):
    """Lines with ProcessBench's fields and scores that are low from the first error on."""
    random = np.random.default_rng(seed)
    lines = []
    for number, label in enumerate(labels):
        wrong = [label >= 0 and place >= label for place in range(5)]
        made = {
            "id": f"math-{number}",
            "problem": f"question {number // 2}",
            "steps": [f"step {place} of {number}" for place in range(5)],
            "label": label,
            "final_answer_correct": label == -1 or number % 7 == 0,
            "prm_scores": [float(random.uniform() ** (3 if each else 0.3)) for each in wrong],
        }
        lines.append(json.dumps(made))
    file = folder / "labelled.jsonl"
    file.write_text("\n".join(lines))
    return file


def test_imported_labels_are_of_first_errors_alone(tmp_path):
    labels = [-1, 0, 2, 4, -1, 1, 3, 3] * 8
    import_traces(labelled_file(tmp_path, labels), tmp_path / "bank")
    bank = read_bank(tmp_path / "bank")
    found = audit(bank, tmp_path / "bank")
    assert found.labelled and found.problems == 32
    assert set(found.areas) == {REPAIRABLE, *AGGREGATES, WITHIN}
    steps = sum(label + 1 if label >= 0 else 5 for label in labels)
    assert found.areas[REPAIRABLE].count == steps
    assert found.areas[REPAIRABLE].wrong == sum(label >= 0 for label in labels)
    even, best = found.first_errors
    assert even.threshold == 0.5
    assert 0 < even.f1 <= best.f1 < 1
    assert best.interval[0] < best.f1 < best.interval[1]
    printed = " ".join(run("audit", tmp_path / "bank").stdout.split())
    assert "First errors found" in printed
    assert "follows from the steps before it" not in printed


REAL = {
    ("math500", "qwen_prm"): (0.800, 0.134),
    ("gsm8k", "qwen_prm"): (0.701, 0.105),
    ("gsm8k", "skywork_prm"): (0.740, 0.181),
    ("gsm8k", "math_shepherd"): (0.650, 0.082),
}
"""AUC-ROC of the lowest score and its ECE, as in docs/results/scorers.md."""


@pytest.mark.parametrize(("benchmark", "scores"), REAL)
def test_real_reward_models_are_what_the_documentation_states(benchmark, scores, tmp_path):
    file = SHARED / f"{benchmark}_qwen2.5_7b_32_solutions_prm_scores.jsonl.gz"
    if not file.exists():
        pytest.skip("needs the reference solutions in ../shared, beside this checkout")
    found = audit(import_traces(file, tmp_path, scores=scores), tmp_path)
    auc, error = REAL[benchmark, scores]
    assert found.areas[LOWEST].auc == pytest.approx(auc, abs=5e-4)
    assert found.reliability.error == pytest.approx(error, abs=5e-4)
    low, high = found.areas[LOWEST].interval
    assert 0.08 < high - low < 0.14


# Refusals


def test_what_cannot_be_audited_is_refused_in_one_line(bank, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "audit.json").write_text("an older file")
    right = imported(tmp_path, [trace_line(n, True, [0.9]) for n in range(30)])
    empty = tmp_path / "empty"
    BankStore(empty, IDENTITY)
    other = record_bank(tmp_path / "other", PROBLEMS[:3], replace(IDENTITY, scorer="grade"))
    few = record_bank(tmp_path / "few", PROBLEMS[:3])
    for words, message in (
        ([tmp_path / "nowhere"], "not a bank"),
        ([empty], "the bank is empty"),
        ([right], "problems with wrong solutions: 0, but an audit needs at least 10"),
        ([few], "problems with wrong drafts up to the first error: "),
        ([bank, "--against", other], "scores of the kind 'grade', not 'prm'"),
        ([bank, "--against", few], "an audit needs at least 10"),
        ([bank, "--against", right], "its steps have no labels"),
        ([bank, right, "--against", other], "--against: goes with one BANK"),
        ([bank, right], "problems with wrong solutions: 0, but an audit needs at least 10"),
    ):
        assert message in refusal(run("audit", *words, "--out", out))
        assert (out / "audit.json").read_text() == "an older file"
        assert len(list(out.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_line(bank, tmp_path):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert "results cannot be written there" in refusal(run("audit", bank, "--out", file))


# The page


class Resources(HTMLParser):
    """Everything that a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "link", "img", "iframe", "object"):
            self.found.append(tag)
        self.found += [v for k, v in attributes if k in ("src", "href") and not v.startswith("#")]


def test_a_page_needs_nothing_else_and_escapes_its_text(bank, tmp_path):
    run("audit", bank, "--out", tmp_path)
    html = (tmp_path / "report.html").read_text()
    parser = Resources()
    parser.feed(html)
    assert not parser.found
    assert not re.search(r"url\((?!#)|@import", html)
    hostile = "<script>alert(1)</script>"
    page = Page(
        hostile,
        hostile,
        (hostile,),
        (Table(hostile, ("a", hostile), ((hostile, hostile),)),),
        (Picture(hostile, "<svg></svg>"),),
    )
    written = write_page(page, tmp_path / "hostile").read_text()
    assert "<script" not in written
    assert written.count("&lt;script&gt;") == 11


def test_a_page_is_printed_as_it_is_written():
    page = Page("[b]title", "verdict [1]", ("note",), (Table("t", ("a", "b"), (("x", "1"),)),), ())
    console = Console(width=80)
    with console.capture() as captured:
        print_page(console, page)
    printed = captured.get()
    for text in ("[b]title", "verdict [1]", "note", "x", "1"):
        assert text in printed


@given(st.integers(1, 4), st.integers(1, 4))
def test_a_table_is_whole(columns, cells):
    assume(columns != cells)
    with pytest.raises(ValueError, match="every row needs"):
        Table("t", ("c",) * columns, (("x",) * cells,))
