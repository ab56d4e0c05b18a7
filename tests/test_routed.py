"""Policies on tokens in banks: their recorded solutions, and what is calibrated from them."""

import asyncio
import json
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import scripted_bank
from bank_models import IDENTITY, ChanceScorer, writer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from once import once
from test_calibrate import agg_folder

from trim.cli.main import main
from trim.cluster.worker import Task, Worker, problem_to_json, source_to_json
from trim.configuration.identity import identify_models
from trim.configuration.source import Models, models_in
from trim.costs import Prices
from trim.errors import InvalidInput
from trim.evaluation.cold import ColdModel, ColdScorer
from trim.evaluation.evaluate import draw
from trim.evaluation.suites import CHAIN, generate
from trim.models.model import Completion, Ending, Prefix
from trim.monitoring.monitor import Monitor
from trim.monitoring.profile import Profile, route_record
from trim.policies.calibrated import CalibratedRouter
from trim.policies.registry import parse_policies, parse_policy
from trim.policies.span import Extent, Unit
from trim.policies.sweep import policies_by_cost
from trim.policies.token import DoubtfulToken, family_and_setting
from trim.rollouts.bank import read_bank
from trim.rollouts.calibration.calibrate import calibrate, compare
from trim.rollouts.calibration.guarantee import Accuracy, Money, StrongShare
from trim.rollouts.calibration.outcomes import Baselines, ReplayEvaluator
from trim.rollouts.calibration.sweep import Sweep, comparable_families, parse_sweep
from trim.rollouts.collect import collect
from trim.rollouts.replay import Replayed, replay
from trim.rollouts.routed import RoutedSolution
from trim.rollouts.routed_solver import RoutedSolver, parse_recorded
from trim.rollouts.routed_store import RoutedStore, decode, read_routed
from trim.router import Router
from trim.scorers.scorer import Scores, score_each
from trim.shipped import FOLDER
from trim.types import Action, Author, Usage

COUNT = 30
"""Problems of the bank: as few as a calibration may have."""
PROBLEMS = list(generate(CHAIN, COUNT, seed=5))


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def done(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words):
    """What is said of a command that cannot be done."""
    result = run(*words)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    return result.stderr


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A router for joint scores of the shipped models."""
    models = identify_models(FOLDER, "joint")
    return once(tmp_path_factory, "fitted", lambda folder: agg_folder(folder, models, "joint"))


@pytest.fixture(scope="module")
def bank(tmp_path_factory, fitted):
    """A bank of `COUNT` problems with several policies, said to be of the shipped models."""
    specs = ("token:0.3,0.7,0.9", "token:0.5:8,0.9:8", "tail:0.9", "thr:0.3,0.9+tail:0.9",
             f"agg:{fitted}@0.1,0.001+tail:0.9")  # fmt: skip
    names = identify_models(FOLDER, "joint")
    write = partial(scripted_bank.record, count=COUNT, specs=specs, names=names)
    return once(tmp_path_factory, "routed", write)


@pytest.fixture(scope="module")
def exact():
    return models_in(FOLDER).load(exact=True)


def exactly(out, *words, count=2):
    """A bank of few problems that repeats every character."""
    command = ("collect", "chain", "-n", count, "--seed", 5, "--rollouts", 2, "--exact")
    return done(*command, "--out", out, *words)


def solved(models, spec, problem, limit=None):
    """A solution whose models have read nothing else."""
    cold = replace(
        models,
        weak=ColdModel(models.weak),
        strong=ColdModel(models.strong),
        scorers={"joint": ColdScorer(models.scorer_of("joint"))},
    )
    config = replace(models_in(FOLDER).config, max_strong_tokens=limit)
    return Router.of(cold, policy=spec, config=config).solve(problem.question, seed=5)


def test_what_is_recorded_is_what_the_router_does(tmp_path, exact):
    specs = ["token:0.9", "clause:0.7", "thr:0.9+tail:0.9"]
    exactly(tmp_path, *(word for spec in specs for word in ("--policy", spec)))
    bank, mixed = read_bank(tmp_path), 0
    for spec in specs:
        for problem, found in zip(PROBLEMS, bank.solutions_of(spec), strict=False):
            trace = solved(exact, spec, problem)
            assert found.problem_id == problem.id
            assert found.correct == (trace.answer == problem.answer)
            assert dict(found.usage) == trace.usage
            assert found.strong_tokens == trace.strong_tokens
            scores = tuple(step.score for step in trace.steps if step.score is not None)
            assert found.scores == scores and bool(scores) == spec.startswith("thr")
            assert found.actions == tuple(step.action for step in trace.steps if scores)
            mixed += any(step.spans for step in trace.steps)
    assert mixed


def test_a_worker_of_a_cluster_records_the_same(tmp_path):
    specs = ("token:0.9", "thr:0.9+tail:0.9")
    exactly(tmp_path, *(word for spec in specs for word in ("--policy", spec)), count=1)
    source = source_to_json(models_in(FOLDER))
    worker = Worker(Task(source, "chain", 5, "joint", specs, True, rollouts=2).to_json())
    assert worker.ready() is None
    bill, found = asyncio.run(worker.route(problem_to_json(PROBLEMS[0])))
    assert decode(BytesIO(found)) == [*read_routed(tmp_path)]
    assert json.loads(bill)["bill"]["usage"]["strong"]["tokens"] > 0


def test_only_what_is_missing_is_added(tmp_path):
    first = ("--policy", "token:0.9")
    exactly(tmp_path, *first)
    before = content(tmp_path)
    exactly(tmp_path, *first)
    assert content(tmp_path) == before
    exactly(tmp_path, *first, "--policy", "tail:0.5", count=3)
    assert before.items() < content(tmp_path).items()
    bank = read_bank(tmp_path)
    assert len(bank.problems) == 3
    assert bank.recorded_policies == {("token:0.9", None), ("tail:0.5", None)}
    keys = [(each.problem_id, each.policy) for each in bank.routed]
    assert len(keys) == len(set(keys)) == 6


def test_a_bank_from_before_is_read_and_extended(tmp_path):
    exactly(tmp_path)
    assert not (tmp_path / "routed").exists() and read_bank(tmp_path).routed == ()
    before = content(tmp_path)
    assert "\nsolutions of token:0.5:8" in exactly(tmp_path, "--policy", "token:0.5:8").stdout
    assert before.items() < content(tmp_path).items()
    assert len(read_bank(tmp_path).solutions_of("token:0.5:8")) == 2


def test_an_interrupted_collection_continues(tmp_path, monkeypatch):
    """Only whole problems are on disk, and each is solved once."""
    asked, solve = [], RoutedSolver.solve

    async def failing(self, problem):
        asked.append(problem.id)
        if len(asked) == 2:
            raise InvalidInput("it fails")
        return await solve(self, problem)

    source = models_in(FOLDER)
    source = replace(source, configuration=source.configuration.model_copy(
        update={"routing": source.configuration.routing.model_copy(update={"concurrency": 1})}
    ))  # fmt: skip

    def collected():
        return collect(
            draw("chain", 3, 5), 5, tmp_path, source, rollouts=2, exact=True, specs=["token:0.9"]
        )

    monkeypatch.setattr(RoutedSolver, "solve", failing)
    with pytest.raises(InvalidInput, match="it fails"):
        collected()
    assert len([*read_routed(tmp_path)]) == 1
    bank = collected()
    assert asked == [PROBLEMS[index].id for index in (0, 1, 1, 2)]
    assert len(bank.solutions_of("token:0.9")) == 3


@pytest.mark.parametrize("spoil", [lambda data: data[:-20], lambda data: b"no", lambda data: b""])
def test_a_damaged_file_is_named(tmp_path, spoil):
    exactly(tmp_path, "--policy", "token:0.9", count=1)
    (path,) = (tmp_path / "routed").glob("*.parquet")
    path.write_bytes(spoil(path.read_bytes()))
    assert f"{path.name}: damaged" in refused("calibrate", tmp_path, "--accuracy", "0.5", "--out",
                                              tmp_path / "r.json")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "thr:0.5"], "only policies on tokens are recorded"),
        (["--policy", "token:2"], "'2' is not a probability"),
        (["--policy", "token:0.5:0"], "not a number of tokens"),
        (["--policy", "oracle-token"], "needs reference solutions"),
        (["--max-strong-tokens", "5"], "goes with --policy"),
        (["--policy", "token:0.5", "--max-strong-tokens", "-1"], "must be 0 or more"),
    ],
)
def test_a_policy_that_is_not_recorded_is_one_line(tmp_path, words, message):
    assert message in refused("collect", "chain", "-n", 1, "--out", tmp_path / "bank", *words)
    assert not (tmp_path / "bank").exists()


def test_models_without_tokens_are_refused_before_anything_is_asked():
    models = Models(writer("weak"), writer("strong"), {})
    solver = RoutedSolver(models, ChanceScorer(), parse_recorded(["token:0.5"]))
    with pytest.raises(InvalidInput, match="weak cannot write inside a step"):
        asyncio.run(solver.require_spans())
    asyncio.run(replace(solver, policies=[]).require_spans())


def test_a_policy_of_other_scores_or_models_is_refused(tmp_path):
    def word(name, models, scorer="prm"):
        return [f"agg:{agg_folder(tmp_path / name, models, scorer)}+tail:0.9"]

    assert len(parse_recorded(word("own", IDENTITY.models), IDENTITY)) == 3
    with pytest.raises(InvalidInput, match="other models"):
        parse_recorded(word("models", {"weak": "x"}), IDENTITY)
    with pytest.raises(InvalidInput, match="fitted to scores 'grade'"):
        parse_recorded(word("scores", IDENTITY.models, "grade"), IDENTITY)


def test_a_cache_holds_what_the_solution_has_read_and_written():
    """llama.cpp's own counts are about the same where it solves nothing else."""
    problem, counted = PROBLEMS[0], []

    class Watched(ColdModel):
        def _counted(self, prefix, written):
            result = super()._counted(prefix, written)
            counted.append((written, result))
            return result

    for spec in ("token:0.9", "tail:0.9"):
        counted.clear()
        models = models_in(FOLDER).load()
        weak, strong = Watched(models.weak), Watched(models.strong)
        router = Router(weak=weak, strong=strong, scorer=models.scorer, policy=spec,
                        config=models_in(FOLDER).config)  # fmt: skip
        router.solve(problem.question, 5)
        assert len(counted) > 5 and any(result.cached_tokens for _, result in counted)
        read = sum(result.prompt_tokens - result.cached_tokens for _, result in counted)
        measured = sum(written.prompt_tokens - written.cached_tokens for written, _ in counted)
        # The engine reads the last token of each prompt again.
        assert abs(read - measured) <= 2 * len(counted)


@pytest.mark.parametrize("caches", [True, False])
def test_each_request_of_a_scorer_finds_its_own_beginning_in_the_cache(caches):
    """After a rewrite two steps are scored, each by a request of its own."""
    read = []

    class OneByOne:
        name = "one by one"

        async def score(self, trace, written):
            return await score_each(trace, written, self.score_one)

        async def score_one(self, trace, written):
            known = (text for text in read if trace.text.startswith(text))
            cached = max(map(len, known), default=0)
            read.append(trace.text)
            return Scores((0.5,), len(trace.text), cached)

    scorer, trace, uncached = ColdScorer(OneByOne(), caches), Prefix("q"), 0
    unscored = []
    for number in range(6):
        draft, rewrite = (Completion(f"{text} {number}\n\n", Ending.STEP, 3, 0) for text in "ds")
        scores = asyncio.run(scorer.score(trace.then(draft.text), [*unscored, draft]))
        uncached += scores.prompt_tokens - scores.cached_tokens
        kept, unscored = (rewrite, [rewrite]) if number % 2 else (draft, [])
        trace = trace.then(kept.text)
    # Each text once: six drafts and the rewrites before the last draft.
    assert uncached == 8 * len(draft.text)


def test_a_policy_that_never_writes_costs_what_its_replay_costs(tmp_path):
    exactly(tmp_path, "--policy", "token:0.3", count=6)
    recorded = read_bank(tmp_path)
    solutions = recorded.solutions_of("token:0.3")
    unaided = [
        (replay(problem, parse_policy("weak")).usage["weak"], solution.usage["weak"])
        for problem, solution in zip(recorded.problems, solutions, strict=True)
        if not solution.strong_tokens
    ]
    assert unaided
    for alone, routed in unaided:
        assert routed.tokens == pytest.approx(alone.tokens, abs=2 * routed.requests)
        # The replay estimates the question's tokens by its characters.
        assert routed.prompt_tokens == pytest.approx(alone.prompt_tokens, rel=0.25)
        uncached, estimated = (used.prompt_tokens - used.cached_tokens for used in (routed, alone))
        assert uncached == pytest.approx(estimated, rel=0.4)


USED = st.builds(Usage, *[st.integers(0, 1000)] * 4)


@given(
    st.builds(
        RoutedSolution,
        problem_id=st.text(max_size=5),
        policy=st.text(max_size=5),
        file=st.one_of(st.none(), st.text(max_size=5)),
        max_strong_tokens=st.one_of(st.none(), st.integers(0, 99)),
        scores=st.just((0.25, 1.0)),
        actions=st.tuples(*[st.sampled_from(Action)] * 2),
        denied=st.tuples(st.booleans(), st.booleans()),
        correct=st.booleans(),
        usage=st.fixed_dictionaries({"weak": USED, "strong": USED, "scorer": USED}),
    )
)
def test_a_solution_survives_its_file(tmp_path_factory, solution):
    folder = tmp_path_factory.mktemp("one")
    RoutedStore(folder).add([solution, solution])
    assert [*read_routed(folder)] == [solution]
    assert RoutedStore(folder).has(solution.problem_id, solution.policy, solution.file,
                                   solution.max_strong_tokens)  # fmt: skip


@pytest.mark.parametrize("spec", ["token:0.9", "token:0.7:4", "tail:0.9", "thr:0.9+tail:0.9"])
def test_a_limit_that_is_not_reached_gives_the_recorded_solution(exact, spec):
    for problem in PROBLEMS[:3]:
        free = solved(exact, spec, problem)
        found = RoutedSolution.of(replace(free, problem_id=problem.id), None, None)
        limit = free.strong_tokens + 1
        assert found.holds_under(limit) and found.holds_under(None)
        limited = solved(exact, spec, problem, limit)
        assert limited.steps == free.steps and limited.usage == free.usage
        assert not found.holds_under(free.strong_tokens)


@given(*[st.one_of(st.none(), st.integers(0, 20))] * 2, st.integers(0, 30))
def test_a_solution_holds_under_its_own_limit(limit, other, tokens):
    usage = {"weak": Usage(), "strong": Usage(tokens=tokens), "scorer": Usage()}
    found = RoutedSolution("1", "token:0.9", None, limit, (), (), (), True, usage)
    assert found.holds_under(limit)
    if found.holds_under(other) and other != limit:
        assert all(tokens < each for each in (limit, other) if each is not None)


def test_a_calibration_has_the_limit_of_the_recorded_solutions(tmp_path, bank):
    def calibrated(out, *words):
        done("calibrate", bank, "--policy", "token", "--strong-share", "0.6", *words, "--out", out)
        return json.loads(out.read_text())

    most = max(each.strong_tokens for each in read_bank(bank).solutions_of("token:0.7"))
    words = ("--policy", "token", "--strong-share", "0.6", "--out", tmp_path / "no.json")
    said = refused("calibrate", bank, *words, "--max-strong-tokens", 0)
    assert "the bank has no setting of it for all its problems" in said
    assert said.rstrip().endswith("--max-strong-tokens 0")
    record = calibrated(tmp_path / "r.json", "--max-strong-tokens", most + 1)
    assert (record["max_strong_tokens"], record["setting"]) == (most + 1, 0.7)
    (router,) = parse_policies(f"router:{tmp_path / 'r.json'}")
    assert router.max_strong_tokens == most + 1
    # A limit that cuts solutions needs those.
    limited = tmp_path / "limited"
    names = identify_models(FOLDER, "joint")
    scripted_bank.record(limited, COUNT, ["token:0.9"], names, limit=3)
    recorded = read_bank(limited)
    assert all(each.strong_tokens <= 3 for each in recorded.solutions_of("token:0.9", None, 3))
    assert any(each.strong_tokens == 3 for each in recorded.routed)
    assert recorded.solutions_of("token:0.9") is None
    done("calibrate", limited, "--policy", "token", "--strong-share", "0.6",
         "--max-strong-tokens", 3, "--out", tmp_path / "r.json")  # fmt: skip


FAMILIES = ["token", "token::8", "tail", "thr+tail:0.9"]


@pytest.mark.parametrize("word", FAMILIES)
@pytest.mark.parametrize("guarantee", [StrongShare(0.3), Money(1e-4), Accuracy(0.85)])
def test_the_most_expensive_recorded_setting_within_the_budget(bank, word, guarantee):
    evaluator = ReplayEvaluator(read_bank(bank), Prices())
    sweep = parse_sweep(word, evaluator.bank)
    assert sweep.name == word and len(sweep.settings) == {"token": 3, "tail": 1}.get(word, 2)
    order = [*sweep.policies(guarantee.most_expensive_first)]
    held = [guarantee.holds(evaluator.outcomes(each), evaluator.baselines) for _, each in order]
    passed = [*held, False].index(False)
    if not passed:
        with pytest.raises(InvalidInput, match="no setting of"):
            calibrate(evaluator, sweep, guarantee)
        return
    found = calibrate(evaluator, sweep, guarantee)
    assert found.setting == order[passed - 1][0]
    assert found.outcomes.complete.all()


def test_a_fitted_policy_is_calibrated_with_its_file(bank, fitted, tmp_path):
    word, out = f"agg:{fitted}+tail:0.9", tmp_path / "r.json"
    sweep = parse_sweep(word, read_bank(bank))
    # A higher price spends less.
    assert sweep.settings == (0.1, 0.001) and sweep.name == word
    done("calibrate", bank, "--policy", word, "--strong-share", "0.9", "--out", out)
    record = json.loads(out.read_text())
    assert (record["family"], record["tail"]) == ("agg+tail", 0.9)
    (router,) = parse_policies(f"router:{out}")
    (policy,) = parse_policies(f"agg:{fitted}@{record['setting']}+tail:0.9")
    assert router.name == f"router:{out}" and router.places
    assert router.policy.name == policy.name
    assert (router.policy.threshold, router.policy.policy.price) == (0.9, record["setting"])
    # Another file of the same family has no recorded solutions.
    models = identify_models(FOLDER, "joint")
    other = agg_folder(tmp_path / "other", models, "joint", prices=(0.1, 0.002, 0.001))
    said = refused("calibrate", bank, "--policy", f"agg:{other}+tail:0.9", "--accuracy", "0.5",
                   "--out", out)  # fmt: skip
    assert "the bank has no setting of it" in said


def test_a_family_that_the_bank_does_not_record_is_named(bank, tmp_path):
    for word in ("clause", "token::3", "thr+tail:0.5", "cascade+tail:0.9"):
        said = refused("calibrate", bank, "--policy", word, "--accuracy", "0.5", "--out",
                       tmp_path / "r.json")  # fmt: skip
        assert f"--policy {word}: the bank has no setting of it" in said
    for word in ("token:0.9", "takeover+tail:0.9", "token::0", "clause::2", "thr+tail:2"):
        said = refused("calibrate", bank, "--policy", word, "--accuracy", "0.5", "--out",
                       tmp_path / "r.json")  # fmt: skip
        assert "no family" in said or "token::0" in said or "is not" in said or "takes no" in said


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("token", DoubtfulToken(0.9)),
        ("token::8", DoubtfulToken(0.9, Extent(Unit.TOKENS, 8))),
        ("tail", DoubtfulToken(0.9, Extent(Unit.STEP))),
        ("thr+tail:0.9", parse_policy("thr:0.9+tail:0.9")),
    ],
)
def test_a_router_file_is_its_policy_on_tokens(bank, tmp_path, word, policy):
    out = tmp_path / "r.json"
    words = ("--strong-share", "0.9", "--confidence", "0.5", "--out", out)
    done("calibrate", bank, "--policy", word, *words)
    record = json.loads(out.read_text())
    assert ("profile" in record) == policy.needs_scores
    (router,) = parse_policies(f"router:{out}")
    assert router.policy == policy
    assert (router.inside_steps, router.places) == (policy.inside_steps, policy.places)
    (swept, own), (expected, place) = map(policies_by_cost, (f"router:{out}", policy.name))
    assert [each.name for each in swept] == [each.name for each in expected]
    assert own == place
    question = PROBLEMS[0].question
    trace = json.loads(run("solve", question, "--policy", f"router:{out}", "--json").stdout)
    assert trace["policy"] == f"router:{out}" and trace["steps"]


@given(
    st.floats(0, 1),
    st.one_of(
        st.tuples(st.just("token"), st.integers(1, 50), st.none()),
        st.tuples(st.sampled_from(["clause", "tail"]), st.just(1), st.none()),
        st.tuples(st.sampled_from(["thr", "random", "cascade"]), st.just(1), st.floats(0, 1)),
    ),
)
def test_every_setting_survives_a_router_file(tmp_path_factory, setting, kind):
    family, tokens, tail = kind
    path = tmp_path_factory.mktemp("router") / "r.json"
    guarantee = {"target": {}, "confidence": 0.9, "horizon": None, "bound": ""}
    written = CalibratedRouter(
        family, setting, None, "prm", {}, 5, guarantee, tokens=tokens, tail=tail
    )
    path.write_text(json.dumps(written.to_json(path)))
    (router,) = parse_policies(f"router:{path}")
    assert router.router == written
    (policy,) = parse_policies(written.spec)
    assert router.policy == policy
    assert family_and_setting(policy.name)[1] == setting


@pytest.mark.parametrize(
    "change",
    [{"tokens": 0}, {"tokens": True}, {"tokens": "8"}, {"family": "thr+tail"},
     {"family": "thr+tail", "tail": 1.5}, {"family": "clause"}, {"families": 3}],
)  # fmt: skip
def test_a_router_file_on_tokens_that_is_not_right_is_refused(change, tmp_path):
    path = tmp_path / "r.json"
    guarantee = {"target": {}, "confidence": 0.9, "horizon": None, "bound": ""}
    record = CalibratedRouter("token", 0.9, None, "prm", {}, 5, guarantee, tokens=8).to_json(path)
    path.write_text(json.dumps(record))
    assert parse_policies(f"router:{path}")
    path.write_text(json.dumps({**record, **change}))
    with pytest.raises(InvalidInput, match="not a file that was fitted"):
        parse_policies(f"router:{path}")


def test_the_best_family_is_chosen_by_itself(bank, tmp_path):
    out = tmp_path / "r.json"
    assert comparable_families(read_bank(bank)) == [
        "thr", "cascade", "tail", "thr+tail:0.9", "token", "token::8",
    ]  # fmt: skip
    result = done("calibrate", bank, "--accuracy", "0.6", "--prices", "example", "--out", out)
    assert "0.9 confidence for 6 families together: each was tested at 0.9833" in result.stdout
    record = json.loads(out.read_text())
    assert set(record["families"]) == {"thr", "cascade", *FAMILIES}
    lines = result.stdout.splitlines()[4:]
    chosen = next(line for line in lines if line.endswith("(chosen)"))
    money = [float(line.split("money ")[1].split(",")[0]) for line in lines if "money" in line]
    assert float(chosen.split("money ")[1].split(",")[0]) == min(money)
    assert chosen.startswith(parse_policies(f"router:{out}")[0].policy.name)
    # A single family is tested at the whole level, and needs no comparison.
    result = done("calibrate", bank, "--policy", "token", "--accuracy", "0.6", "--out", out)
    assert "families" not in json.loads(out.read_text()) and "Bonferroni" not in result.stdout
    words = ("--policy", "token", "--policy", "thr", "--strong-share", "0.6")
    result = done("calibrate", bank, *words, "--out", out)
    assert "each was tested at 0.95 " in result.stdout


@dataclass
class Simulated:
    """Families whose settings have known accuracies and costs, on random problems."""

    random: np.random.Generator
    problems: int
    prices = True

    def __post_init__(self):
        count = self.problems
        self.bank = SimpleNamespace(problems=[None] * count, identity=SimpleNamespace(scorer="prm"))
        self.baselines = Baselines(np.full(count, 10.0), np.zeros(count), np.ones(count), 10.0, 1.0)

    def replays(self, setting, file=None):
        ranks = self.random.random(self.problems)
        return [
            Replayed((), (), (), bool(rank < setting), True,
                     {"weak": Usage(), "strong": Usage(tokens=10 * int(rank < setting))})
            for rank in ranks
        ]  # fmt: skip


def violations(guarantee, setting, families, runs=200, problems=60):
    """Runs in which a chosen setting violates the guarantee; all of them would."""
    random, broken, prices = np.random.default_rng(4), 0, SimpleNamespace(of=lambda trace: 0.0)
    for _ in range(runs):
        evaluator = Simulated(random, problems)
        evaluator.prices = prices
        sweeps = [Sweep(str(n), None, (setting,), lambda each: each) for n in range(families)]
        try:
            compare(evaluator, sweeps, guarantee)
        except InvalidInput:
            continue
        broken += 1
    return broken / runs


@pytest.mark.parametrize(
    ("guarantee", "setting"), [(Accuracy(0.8), 0.795), (StrongShare(0.3), 0.305)]
)
def test_a_choice_between_families_keeps_the_guarantee(guarantee, setting):
    """Each family alone would violate it about as often as it may; eight of them together would in
    most runs, without a correction."""
    noise = 3 * np.sqrt(0.1 * 0.9 / 200)
    assert violations(guarantee, setting, 8) <= 0.1 + noise
    at_full_level = replace(guarantee, confidence=1 - 8 * (1 - guarantee.confidence))
    assert violations(at_full_level, setting, 8) > 0.1 + noise


@pytest.mark.soak
def test_banks_with_routed_solutions_serve_all_that_reads_banks(bank, tmp_path):
    done("audit", bank)
    done("fit", bank, "--out", tmp_path / "pomdp.json")
    prm = tmp_path / "prm"
    done("collect", "chain", "-n", COUNT, "--seed", 5, "--rollouts", 3, "--scorer", "prm",
         "--policy", "token:0.9", "--policy", "thr:0.5+tail:0.9", "--out", prm)  # fmt: skip
    done("fit-scorer", prm, "--out", tmp_path / "joint.json")
    done("rescore", prm, tmp_path / "joint.json", "--out", tmp_path / "joint")
    # A policy without scores is right for any; one with scores has to be recorded again.
    before, after = read_bank(prm), read_bank(tmp_path / "joint")
    assert after.recorded_policies == {("token:0.9", None)}
    assert after.solutions_of("token:0.9") == before.solutions_of("token:0.9")


def test_a_configuration_on_tokens_collects_whole_steps(tmp_path):
    configuration = tmp_path / "trim.yaml"
    models = "\n".join(f"{role}:\n  gguf: {FOLDER / f'{role}.gguf'}" for role in ("weak", "strong"))
    text = f"{models}\nscorer:\n  kind: logprob\nrouting:\n  policy: token:0.9\n"
    configuration.write_text(text)
    command = ("collect", "chain", configuration, "-n", 2, "--rollouts", 4, "--seed", 5)
    result = done(*command, "--out", tmp_path / "bank")
    recorded = read_bank(tmp_path / "bank")
    assert "solutions of" not in result.stdout and recorded.routed == ()
    assert all(problem.nodes[0].strong is not None for problem in recorded.problems)


def test_studies_draw_a_curve_of_each_family(fitted, tmp_path):
    words = ("--policy", "token:0.5,0.9", "--policy", "token:0.5:4,0.9:4",
             "--policy", "thr:0.5,0.9+tail:0.9", "--policy", f"agg:{fitted}+tail:0.9")  # fmt: skip
    done("ablate", "low-budget", "chain", "-n", 4, *words, "--out", tmp_path)
    summary = json.loads((tmp_path / "trial" / "summary.json").read_text())
    families = {"token", "token::4", "thr+tail:0.9", "agg+tail:0.9", "thr"}
    assert summary["curves"].keys() == families
    prices = [each["setting"] for each in summary["points"] if each["policy"] == "agg+tail:0.9"]
    assert len(prices) > 3 and 0.01 <= min(prices) < max(prices) <= 0.1


def test_traces_with_spans_are_watched_by_their_scores(exact):
    traces = [solved(exact, "thr:0.9+tail:0.9", problem) for problem in PROBLEMS[:6]]
    mixed = [step for trace in traces for step in trace.steps if step.spans]
    assert mixed
    assert all(step.author is Author.STRONG and step.action is Action.REGENERATE for step in mixed)
    records = [route_record(trace) for trace in traces]
    for trace, record in zip(traces, records, strict=True):
        assert record.rewritten == tuple(bool(step.rewrites) for step in trace.steps)
    profile = Profile.of(records)
    monitor = Monitor(profile)
    for trace in traces:
        monitor.observe(trace)
    monitor.check()
    assert monitor.warnings() == ()
    # Without scores there is nothing to watch.
    monitor.observe(solved(exact, "token:0.9", PROBLEMS[0]))
    assert route_record(solved(exact, "token:0.9", PROBLEMS[0])).scores == ()
