"""Joint scores: their weights, their files, and banks that are scored anew."""

import asyncio
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from bank_models import IDENTITY, SETTINGS, ChanceScorer, problem, writer
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.config import RouterConfig
from trim.configuration.source import Models, models_in, shipped_models
from trim.errors import InvalidInput
from trim.evaluation.shared import SharedScorer
from trim.evaluation.suites import CHAIN, generate, is_step_right
from trim.metrics.metrics import area_under_curve
from trim.models.model import Completion, Ending, Prefix
from trim.numerics import uniform
from trim.policies.ppo.trees import unroll
from trim.policies.threshold import Threshold
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.explorer import Explorer
from trim.rollouts.rescore import labelled_signals, rescore
from trim.rollouts.store import BankStore
from trim.router import Router
from trim.scorers.joint import JointScorer, JointWeights, fit_joint, read_weights, write_weights
from trim.scorers.scorer import Scores
from trim.shipped import FOLDER
from trim.testing import ScriptedModel

MODELS = IDENTITY.models
WEIGHTS = JointWeights(1.5, 0.8, 20.0, MODELS)
signals = st.tuples(st.floats(0, 1), st.floats(-5, 0))


@given(signals, signals)
def test_a_joint_score_is_a_probability_that_rises_with_both_signals(one, other):
    (low_score, high_score), (low_told, high_told) = map(sorted, zip(one, other, strict=True))
    assert 0 <= WEIGHTS.of(low_score, low_told) <= WEIGHTS.of(high_score, high_told) <= 1


def drawn(count, random, weights=(1.0, 0.9, 30.0)):
    """Steps whose rightness follows the regression: scores, log-probabilities, right."""
    scores, told = random.beta(2, 1, count), -random.exponential(0.05, count)
    odds = np.log(scores / (1 - scores))
    right = random.random(count) < 1 / (
        1 + np.exp(-(weights[0] + weights[1] * odds + weights[2] * told))
    )
    return scores, told, right


def test_labelled_steps_give_the_weights_they_were_drawn_with():
    scores, told, right = drawn(20_000, np.random.default_rng(0))
    groups = [([(s, t)], bool(r)) for s, t, r in zip(scores, told, right, strict=True)]
    fitted = fit_joint(groups, MODELS)
    assert fitted.intercept == pytest.approx(1.0, abs=0.1)
    assert fitted.prm == pytest.approx(0.9, abs=0.05)
    assert fitted.log_probability == pytest.approx(30, abs=1.5)


def test_answers_of_whole_solutions_are_enough():
    scores, told, right = drawn(12_000, np.random.default_rng(1), (3.0, 0.9, 30.0))
    parts = [slice(start, start + 4) for start in range(0, 12_000, 4)]
    groups = [
        (list(zip(scores[part], told[part], strict=True)), bool(right[part].all()))
        for part in parts
    ]
    fitted = fit_joint(groups, MODELS)
    joint = np.array([fitted.of(s, t) for s, t in zip(scores, told, strict=True)])
    best = np.array(
        [JointWeights(3.0, 0.9, 30.0, {}).of(s, t) for s, t in zip(scores, told, strict=True)]
    )
    area, limit = area_under_curve(right, joint), area_under_curve(right, best)
    assert area_under_curve(right, scores) < area > area_under_curve(right, told)
    assert area == pytest.approx(limit, abs=0.005)


def test_too_few_examples_of_an_outcome_are_refused():
    groups = [([(0.9, -0.1)], True)] * 100 + [([(0.1, -0.1)], False)] * 19
    with pytest.raises(InvalidInput, match="19 wrong examples, at least 20"):
        fit_joint(groups, MODELS)


def test_weights_survive_their_file(tmp_path):
    write_weights(tmp_path / "joint.json", WEIGHTS)
    assert read_weights(tmp_path / "joint.json") == WEIGHTS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prm": "much"}, "not weights of a joint score"),
        ({"prm": float("nan")}, "not weights of a joint score"),
        ({"models": None}, "not weights of a joint score"),
        ({"scorer": "prm"}, "not weights of a joint score"),
        ({"version": 9}, "version 9"),
    ],
)
def test_other_files_are_refused(tmp_path, change, reason):
    path = tmp_path / "joint.json"
    write_weights(path, WEIGHTS)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InvalidInput, match=reason):
        read_weights(path)
    with pytest.raises(InvalidInput, match="fit them with"):
        read_weights(tmp_path / "missing.json")


def completion(told):
    return Completion("step", Ending.STEP, 3, 1, log_probability=told)


def test_a_joint_score_costs_what_the_reward_models_does():
    trace = Prefix("q", ("step",))
    read = asyncio.run(ChanceScorer().score(trace, [completion(-0.1)]))
    joint = asyncio.run(JointScorer(ChanceScorer(), WEIGHTS).score(trace, [completion(-0.1)]))
    assert joint == replace(read, values=(WEIGHTS.of(read.values[0], -0.1),))
    with pytest.raises(InvalidInput, match="does not report its confidence"):
        asyncio.run(JointScorer(ChanceScorer(), WEIGHTS).score(trace, [completion(None)]))


@pytest.mark.parametrize("values", [(), (1.5,), (math.nan,)])
def test_a_joint_score_of_what_is_no_score_is_refused(values):
    class Odd(ChanceScorer):
        async def score(self, trace, written):
            return Scores(values, 5)

    with pytest.raises(InvalidInput, match=r"must return one number in \[0, 1\] for each step"):
        asyncio.run(JointScorer(Odd(), WEIGHTS).score(Prefix("q", ("step",)), [completion(-0.1)]))


@pytest.mark.parametrize(("reads_confidence", "times"), [(False, 1), (True, 2)])
def test_a_text_of_two_authors_is_scored_once_by_who_only_reads(reads_confidence, times):
    class Counting(ChanceScorer):
        asked = 0

        async def score(self, trace, written):
            self.asked += 1
            return await super().score(trace, written)

    counting = Counting()
    counting.reads_confidence = reads_confidence
    shared = SharedScorer(counting)

    async def score():
        for told in (-0.1, -0.2, -0.1):
            await shared.score(Prefix("q", ("step",)), [completion(told)])

    asyncio.run(score())
    assert counting.asked == times


# Banks


def sure(name):
    """`writer` with log-probabilities, which depend on the author."""
    plain = writer(name)

    def write(prefix):
        found = plain.script(prefix)
        told = -uniform("sure", name, prefix)
        return replace(found, log_probability=told) if isinstance(found, Completion) else found

    return ScriptedModel(write, name)


def by_chance(problem, earlier, step):
    return uniform("right", earlier, step) < 0.6


def explore(name, scorer):
    explorer = Explorer(
        Models(sure("weak"), sure("strong"), {}),
        scorer,
        RouterConfig(sampling=SETTINGS, max_steps=5),
        rollouts=9,
        check=by_chance,
        seed=1,
    )
    return asyncio.run(explorer.explore(problem(name)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6).map(str))
def test_a_bank_scored_anew_is_the_one_that_joint_scores_would_have_made(name):
    plain = Bank(IDENTITY, (explore(name, ChanceScorer()),))
    rescored = rescore(plain, WEIGHTS, "digest")
    assert rescored.problems == (explore(name, JointScorer(ChanceScorer(), WEIGHTS)),)
    assert rescored.identity == replace(
        IDENTITY, scorer="joint", models={**MODELS, "joint": "digest"}
    )


def test_what_cannot_be_scored_anew_is_refused():
    bank = Bank(IDENTITY, (explore("1", ChanceScorer()),))
    with pytest.raises(InvalidInput, match="need those of prm"):
        rescore(rescore(bank, WEIGHTS, "digest"), WEIGHTS, "digest")
    with pytest.raises(InvalidInput, match="other models"):
        rescore(bank, replace(WEIGHTS, models={"weak": "x"}), "digest")
    silent = Explorer(
        Models(writer("weak"), writer("strong"), {}),
        ChanceScorer(),
        RouterConfig(sampling=SETTINGS, max_steps=5),
        rollouts=4,
        check=by_chance,
        seed=1,
    )
    untold = Bank(IDENTITY, (asyncio.run(silent.explore(problem("1"))),))
    for use in (lambda: rescore(untold, WEIGHTS, "digest"), lambda: labelled_signals([untold])):
        with pytest.raises(InvalidInput, match="log-probability"):
            use()


def test_the_commands_fit_and_score_anew(tmp_path):
    store = BankStore(tmp_path / "bank", IDENTITY, 100)
    for index in range(60):
        store.add(explore(str(index), ChanceScorer()))
    store.flush()

    def trim(*words):
        return CliRunner().invoke(main, list(map(str, words)))

    weights = tmp_path / "joint.json"
    fitted = trim("fit-scorer", tmp_path / "bank", "--out", weights)
    assert fitted.exit_code == 0, fitted.output
    done = trim("rescore", tmp_path / "bank", weights, "--out", tmp_path / "joint")
    assert done.exit_code == 0, done.output
    found = read_bank(tmp_path / "joint")
    assert found.identity.scorer == "joint" and len(found.problems) == 60
    before = weights.read_bytes()
    for words in (
        ("fit-scorer", tmp_path / "joint", "--out", weights),
        ("fit-scorer", tmp_path / "nothing", "--out", weights),
        ("rescore", tmp_path / "joint", weights, "--out", tmp_path / "again"),
    ):
        refused = trim(*words)
        assert refused.exit_code == 2 and refused.output.count("\n") == 1
    assert weights.read_bytes() == before and not (tmp_path / "again").exists()


@given(st.data())
def test_unrolled_ways_lead_to_the_same_ends_and_tell_scores_apart(data):
    """On layered graphs in which both actions may lead to one node."""
    depth = data.draw(st.integers(1, 4))
    last = 2 * depth
    to = [
        [
            2 * layer + data.draw(st.integers(1, 2)) if layer < depth else -1 - data.draw(bits)
            for _ in range(2)
        ]
        for layer in range(depth + 1)
        for _ in range(1 if layer == 0 else 2)
    ]
    count = len(to)
    assert count == last + 1
    figures = [data.draw(st.sampled_from([0.1, 0.9])) for _ in range(2 * count)]
    keep, rewrite = np.array(to).T
    tokens = np.ones(count)
    scores = np.array(figures[:count]), np.array(figures[count:])
    apart = unroll(keep, rewrite, (scores[0], tokens), (scores[1], tokens))
    pasts = {}
    for way in np.ndindex(*[2] * (depth + 1)):
        node = copy = 0
        past = []
        for action in way:
            assert apart.origin[copy] == node
            assert pasts.setdefault(copy, tuple(past)) == tuple(past)
            past.append(scores[action][node])
            node = (keep, rewrite)[action][node]
            copy = (apart.continue_to, apart.regenerate_to)[action][copy]
        assert copy == node < 0
    few = unroll(keep, rewrite, (scores[0], tokens), (scores[1], tokens), limit=1)
    assert len(few.origin) <= count


bits = st.integers(0, 1)


# The shipped models


def test_the_usual_scores_of_a_folder_are_joint_where_it_has_weights(tmp_path):
    assert models_in(FOLDER).default_kind == "joint"
    for name in ("weak", "strong", "scorer"):
        (tmp_path / f"{name}.gguf").symlink_to(FOLDER / f"{name}.gguf")
    assert models_in(tmp_path).default_kind == "prm"
    bare = models_in(tmp_path).load(slots=1)
    assert bare.scorer is bare.scorers["prm"]
    with pytest.raises(InvalidInput, match=r"no joint\.json"):
        bare.scorer_of("joint")


def test_together_the_two_signals_find_more_errors_than_each():
    models = shipped_models()

    class Both:
        name = "both"

        def __init__(self):
            self.seen = {}

        async def score(self, trace, written):
            scores = {
                kind: await models.scorers[kind].score(trace, written)
                for kind in ("prm", "logprob", "joint")
            }
            self.seen[trace] = [found.values[-1] for found in scores.values()]
            return scores["prm"]

    both, right, found = Both(), [], []
    router = Router(weak=models.weak, strong=models.strong, scorer=both, policy=Threshold(0))
    for drawn_problem in generate(CHAIN, 24, seed=515):
        steps = [step.text for step in router.solve(drawn_problem.question).steps]
        for end in range(1, len(steps) + 1):
            found.append(both.seen[Prefix(drawn_problem.question, tuple(steps[:end]))])
            right.append(is_step_right(CHAIN, drawn_problem, steps[: end - 1], steps[end - 1]))
    prm, logprob, joint = (
        area_under_curve(np.array(right), np.array(kind)) for kind in zip(*found, strict=True)
    )
    assert joint > max(prm, logprob) and joint > 0.94
