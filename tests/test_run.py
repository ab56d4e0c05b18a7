"""Running an evaluation: shared prefixes, order, oracles, and the traces on disk."""

import asyncio
import json
import os
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.configuration.source import Models, open_models
from trim.errors import ContextExceeded, InvalidInput, ModelUnavailable
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.evaluation.suites import CHAIN, SuiteProblem, generate, is_step_right, right_step
from trim.files import write_atomically
from trim.grading.workers import GraderPool
from trim.models.model import Completion, Ending
from trim.numerics import uniform
from trim.policies.fixed import RandomMix, StrongAlone, WeakAlone
from trim.policies.oracle import Oracle, OracleQuery
from trim.policies.registry import parse_policy
from trim.policies.threshold import Takeover, Threshold
from trim.scorers.scorer import Scores
from trim.testing import ScriptedModel
from trim.types import Action, Author, Finish, Step, Trace, Usage

POLICIES = (
    WeakAlone(),
    StrongAlone(),
    Threshold(0.3),
    Threshold(0.7),
    Takeover(0.5),
    RandomMix(0.5),
)


class ChanceScorer:
    """Scores that depend on the step's text alone."""

    name = "chance"

    def __init__(self):
        self.calls = []

    async def score(self, trace, written):
        first = len(trace.steps) - len(written)
        self.calls.append((trace, first))
        values = tuple(uniform("score", step) for step in trace.steps[first:])
        return Scores(values, prompt_tokens=len(trace.steps))


def problem(name, answer="7"):
    return SuiteProblem(f"hand-{name}", "hand", f"question {name}", (), answer)


PROBLEMS = [problem(name) for name in "abcd"]


def writer(name):
    """A model whose words depend on the prefix; its fourth step holds an answer.

    Not all of its steps bring the blank line that ends them.
    """

    def write(prefix):
        word = 5 + int(5 * uniform(name, prefix))
        ends = len(prefix.steps) == 3
        lines = "\n" * (word % 4)
        return f"\\boxed{{{word}}}" if ends else f"  {name} says {word} – \u2028\r{lines}"

    return ScriptedModel(write, name)


def evaluation(problems=PROBLEMS, policies=POLICIES, **options):
    models = Models(
        options.pop("weak", writer("weak")), options.pop("strong", writer("strong")), {}
    )
    scorer = options.pop("scorer", ChanceScorer())
    return Evaluation(problems, policies, models, scorer, **options)


def described(policies=POLICIES):
    return {"suite": "hand", "policies": [policy.name for policy in policies]}


def run(evaluation, folder, progress=lambda traces: None):
    problems = [problem.id for problem in evaluation.problems]
    store = TraceStore(folder, described(evaluation.policies), problems)
    try:
        asyncio.run(evaluation.run(store, progress))
        return store.read()
    finally:
        store.close()


def calls(evaluation):
    parts = (evaluation.models.weak, evaluation.models.strong, evaluation.scorer)
    return [len(part.calls) for part in parts]


def test_sharing_changes_the_work_and_nothing_else(tmp_path):
    sharing, alone = evaluation(), evaluation(share_prefixes=False)
    traces = run(sharing, tmp_path / "sharing")
    assert in_order(traces) == in_order(run(alone, tmp_path / "alone"))
    assert all(fewer < more for fewer, more in zip(calls(sharing), calls(alone), strict=True))
    for part in (sharing.models.weak, sharing.models.strong, sharing.scorer):
        assert len(set(part.calls)) == len(part.calls)


def test_a_policy_does_not_find_the_prefixes_of_others_in_the_cache(tmp_path):
    """The shipped models: a solution is no cheaper beside other policies than alone."""
    source = open_models(None)
    problems = list(generate(CHAIN, 3, 41))

    def uncached(*specs):
        policies = [parse_policy(spec) for spec in specs]
        models = source.load()
        options = {"concurrency": 1, "config": source.config}
        evaluation = Evaluation(problems, policies, models, models.scorer, **options)
        traces = run(evaluation, tmp_path / "-".join(specs).replace(":", "_"))
        read = {}
        for trace in traces:
            for role in ("weak", "strong"):
                used = trace.usage[role]
                key = (trace.policy, role)
                read[key] = read.get(key, 0) + used.prompt_tokens - used.cached_tokens
        return read

    alone = uncached("token:0.9") | uncached("tail:0.9")
    together = uncached("weak", "strong", "thr:0.9", "token:0.9", "tail:0.9")
    for key, read in alone.items():
        # It costs no less. On a busy machine it may cost more: the engine gives a slot away.
        assert 0.9 * read <= together[key] <= 2 * read


def test_each_problem_is_solved_by_every_policy(tmp_path):
    progress = []
    traces = run(evaluation(), tmp_path, lambda traces: progress.append(1))
    assert len(progress) == len(PROBLEMS)
    assert sorted((trace.problem_id, trace.policy) for trace in traces) == sorted(
        (problem.id, policy.name) for problem in PROBLEMS for policy in POLICIES
    )
    assert [trace.policy for trace in traces] == [policy.name for policy in POLICIES] * 4
    assert {trace.correct for trace in traces} == {True, False}
    assert all(trace.correct == (trace.answer == "7") for trace in traces)


def test_an_answer_is_right_as_text():
    with GraderPool() as grading:
        right = [grading.grade(PROBLEMS[0].grader, answer, "7") for answer in ("7", "7.0", None)]
    assert right == [True, False, False]


def test_the_seed_reaches_every_trace(tmp_path):
    assert {trace.seed for trace in run(evaluation(seed=5), tmp_path)} == {5}


class Held:
    """Answers at once, except to one question, which waits."""

    name = "held"

    def __init__(self, question, release):
        self.question, self.release = question, release

    async def write_step(self, prefix, sampling, seed):
        if prefix.question == self.question:
            await self.release.wait()
        return Completion(r"\boxed{7}", Ending.STEP, 1, 0)


@pytest.mark.parametrize("concurrency", [2, 16])
async def test_a_slow_problem_holds_up_no_other(tmp_path, concurrency):
    problems = [problem(str(number)) for number in range(20)]
    release = asyncio.Event()
    store = TraceStore(tmp_path, described([WeakAlone()]))

    def progress(traces):
        if len(store.finished) == 19:
            release.set()

    run = evaluation(
        problems, [WeakAlone()], weak=Held("question 0", release), concurrency=concurrency
    ).run(store, progress)
    # Waits for ever if the slow one is waited for.
    await asyncio.wait_for(run, timeout=10)
    assert [trace.problem_id for trace in store.read()][-1] == "hand-0"
    assert store.finished == {problem.id for problem in problems}
    store.close()


class Counting:
    """Knows how many problems were under way at the same time."""

    name = "counting"

    def __init__(self):
        self.now = self.most = 0

    async def write_step(self, prefix, sampling, seed):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return Completion(r"\boxed{7}", Ending.STEP, 1, 0)


def test_no_more_problems_than_asked_for_are_under_way(tmp_path):
    weak = Counting()
    problems = [problem(str(number)) for number in range(20)]
    run(evaluation(problems, [WeakAlone()], weak=weak, concurrency=3), tmp_path)
    assert weak.most == 3


def test_a_failure_is_raised_as_it_is_and_keeps_what_was_finished(tmp_path):
    failing = ScriptedModel(
        lambda prefix: ContextExceeded("long") if prefix.question == "question c" else r"\boxed{7}"
    )
    broken = evaluation(policies=[WeakAlone()], weak=failing, concurrency=1)
    with pytest.raises(ContextExceeded):
        run(broken, tmp_path)
    store = TraceStore(tmp_path, described([WeakAlone()]))
    assert store.finished == {"hand-a", "hand-b"}
    store.close()


def test_the_query_oracle_asks_where_only_the_strong_model_is_right(tmp_path):
    solved_by = {"a": "", "b": "weak", "c": "strong", "d": "weak strong"}

    def writer(name):
        def write(prefix):
            return r"\boxed{7}" if name in solved_by[prefix.question[-1]] else r"\boxed{8}"

        return ScriptedModel(write, name)

    weak, strong = writer("weak"), writer("strong")
    policies = [OracleQuery(), WeakAlone(), StrongAlone()]
    traces = run(evaluation(policies=policies, weak=weak, strong=strong), tmp_path)
    oracle = {trace.problem_id: trace for trace in traces if trace.policy == "oracle-query"}
    assert {name for name in "abcd" if oracle[f"hand-{name}"].strong_tokens} == {"c"}
    assert {name for name in "abcd" if oracle[f"hand-{name}"].correct} == {"b", "c", "d"}
    # Its own look at both models is shared with the others.
    assert len(weak.calls) == len(strong.calls) == 4


def test_the_oracle_rewrites_exactly_the_wrong_steps(tmp_path):
    problems = list(generate(CHAIN, 10, seed=3))
    by_question = {problem.question: problem for problem in problems}

    def right(prefix):
        return right_step(CHAIN, by_question[prefix.question], prefix.steps)

    def often_wrong(prefix):
        step = right(prefix)
        wrong = uniform("wrong", prefix) < 0.4
        return step.replace("=", "= 1 +") if wrong else step

    def is_right(question, earlier, step):
        return is_step_right(CHAIN, by_question[question], earlier, step)

    strong = ScriptedModel(right)
    weak = ScriptedModel(often_wrong)
    policies = [Oracle(is_right)]
    traces = run(evaluation(problems, policies, weak=weak, strong=strong), tmp_path)
    for trace in traces:
        assert trace.correct
        *earlier, last = by_question[trace.question].steps
        assert [step.text for step in trace.steps] == [*(f"{s}\n\n" for s in earlier), last]
    rewritten = [s for trace in traces for s in trace.steps if s.author is Author.STRONG]
    assert rewritten and len(rewritten) == len(strong.calls)
    assert all("= 1 +" in step.draft and step.action is Action.REGENERATE for step in rewritten)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run: its files' contents and its traces."""
    folder = tmp_path_factory.mktemp("whole")
    traces = run(evaluation(), folder)
    return (folder / "run.json").read_bytes(), (folder / "traces.jsonl").read_bytes(), traces


def in_order(traces):
    return sorted(traces, key=lambda trace: (trace.problem_id, trace.policy))


@settings(max_examples=50)
@given(data=st.data())
def test_a_run_cut_at_any_byte_goes_on(whole, data):
    described_run, content, traces = whole
    cut = data.draw(st.integers(0, len(content)))
    complete = content[:cut].count(b"\n") // len(POLICIES)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.json").write_bytes(described_run)
        (folder / "traces.jsonl").write_bytes(content[:cut])
        progress = []
        continued = run(evaluation(), folder, lambda traces: progress.append(1))
        assert continued[: complete * len(POLICIES)] == traces[: complete * len(POLICIES)]
        assert in_order(continued) == in_order(traces)
        assert len(progress) == len(PROBLEMS) - complete


def test_a_cut_after_every_line_is_recovered(whole, tmp_path):
    described_run, content, traces = whole
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    (tmp_path / "run.json").write_bytes(described_run)
    for cut in sorted({0, *ends, *(end - 1 for end in ends)}):
        (tmp_path / "traces.jsonl").write_bytes(content[:cut])
        store = TraceStore(tmp_path, described())
        store.close()
        complete = content[:cut].count(b"\n") // len(POLICIES)
        assert store.read() == traces[: complete * len(POLICIES)]
        assert store.finished == {trace.problem_id for trace in store.read()}


@settings(max_examples=30)
@given(st.binary(max_size=60))
def test_a_torn_tail_is_dropped(whole, tail):
    described_run, content, traces = whole
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.json").write_bytes(described_run)
        (folder / "traces.jsonl").write_bytes(content + b"{" + tail.replace(b"\n", b""))
        assert run(evaluation(), folder) == traces


@settings(max_examples=50)
@given(data=st.data())
def test_a_damaged_byte_is_named_and_nothing_is_removed(whole, data):
    """Wherever it is but in a torn last line, paid results are kept."""
    described_run, content, _ = whole
    place = data.draw(st.integers(0, len(content) - 2))
    damaged = content[:place] + b"\0" + content[place + 1 :]
    lines = content[:place].count(b"\n") + 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.json").write_bytes(described_run)
        (folder / "traces.jsonl").write_bytes(damaged)
        with pytest.raises(InvalidInput, match=rf"traces.jsonl, line {lines}: .*delete lines"):
            TraceStore(folder, described())
        assert (folder / "traces.jsonl").read_bytes() == damaged


def test_traces_of_another_problem_and_of_one_twice_are_named(whole, tmp_path):
    """A flipped bit in an id would have its problem paid for again."""
    described_run, content, _ = whole
    (tmp_path / "run.json").write_bytes(described_run)
    lines = content.splitlines(keepends=True)
    first = b"".join(lines[: len(POLICIES)])
    problem = json.loads(lines[0])["problem_id"].encode()
    for damaged, fault in (
        (content.replace(problem, problem[:-1] + b"~"), "line 1: a trace of another problem"),
        (content + first, f"line {len(lines) + 1}: a problem for the second time"),
    ):
        (tmp_path / "traces.jsonl").write_bytes(damaged)
        with pytest.raises(InvalidInput, match=fault):
            run(evaluation(), tmp_path)
        assert (tmp_path / "traces.jsonl").read_bytes() == damaged


def test_the_lines_of_a_damaged_problem_can_be_deleted(whole, tmp_path):
    described_run, content, traces = whole
    (tmp_path / "run.json").write_bytes(described_run)
    lines = content.splitlines(keepends=True)
    (tmp_path / "traces.jsonl").write_bytes(b"".join(lines[len(POLICIES) :]))
    assert in_order(run(evaluation(), tmp_path)) == in_order(traces)


def test_foreign_traces_are_not_written_to(whole, tmp_path):
    _, content, _ = whole
    for found in (b"mine\n", content):
        (tmp_path / "traces.jsonl").write_bytes(found)
        with pytest.raises(InvalidInput, match=r"of no run of trim; name another --out"):
            TraceStore(tmp_path, described())
        assert (tmp_path / "traces.jsonl").read_bytes() == found
        assert not (tmp_path / "run.json").exists()


def test_traces_behind_a_link_are_not_written_to(whole, tmp_path):
    described_run, content, _ = whole
    foreign, folder = tmp_path / "foreign.jsonl", tmp_path / "out"
    folder.mkdir()
    foreign.write_bytes(content + b"torn")
    (folder / "run.json").write_bytes(described_run)
    (folder / "traces.jsonl").symlink_to(foreign)
    with pytest.raises(InvalidInput, match=r"is a link, .*name another --out"):
        TraceStore(folder, described())
    assert foreign.read_bytes() == content + b"torn"


def test_a_finished_run_does_nothing(whole, tmp_path):
    described_run, content, _ = whole
    (tmp_path / "run.json").write_bytes(described_run)
    (tmp_path / "traces.jsonl").write_bytes(content)
    again = evaluation()
    run(again, tmp_path)
    assert calls(again) == [0, 0, 0]
    assert (tmp_path / "traces.jsonl").read_bytes() == content


@pytest.mark.parametrize(
    "other",
    [described()["policies"][:-1], [*described()["policies"], "thr:0.9"], ["weak"]],
)
def test_another_run_in_the_folder_is_refused(whole, tmp_path, other):
    described_run, content, _ = whole
    (tmp_path / "run.json").write_bytes(described_run)
    (tmp_path / "traces.jsonl").write_bytes(content)
    with pytest.raises(InvalidInput, match="holds another run"):
        TraceStore(tmp_path, {**described(), "policies": other})
    with pytest.raises(InvalidInput, match="holds another run"):
        TraceStore(tmp_path, {**described(), "seed": 1})
    assert (tmp_path / "run.json").read_bytes() == described_run
    assert (tmp_path / "traces.jsonl").read_bytes() == content


@pytest.mark.parametrize("content", ["", "{", "nonsense", "null"])
def test_an_unreadable_description_is_another_run(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InvalidInput, match="holds another run"):
        TraceStore(tmp_path, described())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "file" / "a" / "b"):
        with pytest.raises(InvalidInput, match=r"cannot write there .*; name another --out"):
            TraceStore(folder, described())
    assert (tmp_path / "file").read_text() == "in the way"


def test_missing_folders_are_made(tmp_path):
    store = TraceStore(tmp_path / "a" / "b", described())
    assert store.read() == []
    store.close()


def test_a_full_disk_loses_no_problem_unnoticed(whole, tmp_path):
    """Bytes that no longer fit are an error at once, or the problem is not called finished."""
    resource = pytest.importorskip("resource")
    *_, traces = whole
    first, second = traces[: len(POLICIES)], traces[len(POLICIES) : 2 * len(POLICIES)]
    store = TraceStore(tmp_path, described())
    store.add(first[0].problem_id, first)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size + 100, limits[1]))
    try:
        with suppress(OSError, InvalidInput):
            store.add(second[0].problem_id, second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        store.close()
    again = TraceStore(tmp_path, described())
    again.close()
    assert again.read() == first
    assert store.finished == again.finished


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "summary.json"
    write_atomically(path, "one")
    write_atomically(path, "zwei é".encode())
    assert path.read_text(encoding="utf-8") == "zwei é"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "folder", "content")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "summary.json"]


def test_what_killed_processes_left_is_removed(tmp_path):
    """By the number of a process that is dead, or is this one, which has just begun."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = {f".a.json.{os.getppid()}.partial", f".b.json.{dead.pid}.whole", ".c.partial", "d.json"}
    left = {f".{name}.{number}.partial" for name in ("a.json", "b") for number in
            (dead.pid, os.getpid(), 10**30)}  # fmt: skip
    for name in kept | left:
        (tmp_path / name).touch()
    TraceStore(tmp_path, described()).close()
    assert {path.name for path in tmp_path.iterdir()} >= kept
    assert not {path.name for path in tmp_path.iterdir()} & left


counts = st.integers(0, 10**6)
steps = st.builds(
    Step,
    text=st.text(),
    author=st.sampled_from(Author),
    action=st.sampled_from(Action),
    score=st.none() | st.floats(0, 1),
    draft=st.none() | st.text(),
    draft_tokens=counts,
    strong_tokens=counts,
    truncated=st.booleans(),
)
traces = st.builds(
    Trace,
    question=st.text(),
    policy=st.text(),
    seed=st.integers(),
    steps=st.lists(steps, max_size=3).map(tuple),
    answer=st.none() | st.text(),
    finish=st.sampled_from(Finish),
    usage=st.fixed_dictionaries(
        dict.fromkeys(("weak", "strong", "scorer"), st.builds(Usage, counts, counts, counts))
    ),
    seconds=st.floats(0, 1e6),
    problem_id=st.none() | st.text(),
    scorer=st.none() | st.text(),
    abandoned=st.lists(steps, max_size=2).map(tuple),
    correct=st.none() | st.booleans(),
)


@given(traces)
def test_a_trace_comes_back_from_json(trace):
    line = json.dumps(trace.to_json())
    assert "\n" not in line
    for again in (Trace.from_json(json.loads(line)), Trace.from_json(trace.to_json())):
        assert again == trace
        assert isinstance(again.finish, Finish)
        written = (*again.abandoned, *again.steps)
        assert all(isinstance(step.author, Author) for step in written)
        assert all(isinstance(step.action, Action) for step in written)


@given(traces, st.lists(st.text("ab \n"), max_size=4), st.text("ab \n"))
def test_a_solution_is_its_steps_byte_for_byte(trace, earlier, last):
    texts = [*(f"{text}\n\n" for text in earlier), last]
    written = replace(trace, steps=tuple(replace(STEP, text=text) for text in texts))
    assert written.solution == "".join(texts)
    assert replace(trace, steps=()).solution == ""


def test_older_traces_hold_steps_without_their_blank_lines_and_are_still_read(tmp_path):
    """As of version 0.1: nothing between steps, and no field that came later."""
    step = {"author": "weak", "action": "continue", "score": 0.5, "draft": None,
            "draft_tokens": 3, "strong_tokens": 0, "truncated": False}  # fmt: skip
    rewritten = {**step, "author": "strong", "action": "regenerate", "draft": "x = 2"}
    record = {
        "question": "1+1?\n\nPut your answer in a box.",
        "policy": "weak",
        "seed": 0,
        "steps": [{**step, "text": "1) add"}, {**rewritten, "text": "2) so"},
                  {**step, "text": "\\boxed{2}"}],
        "answer": "2",
        "finish": "answer",
        "usage": {role: {"prompt_tokens": 1, "cached_tokens": 0, "tokens": 9} for role in
                  ("weak", "strong", "scorer")},
        "problem_id": "hand-a",
        "correct": True,
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(described([WeakAlone()])))
    (tmp_path / "traces.jsonl").write_text(json.dumps(record) + "\n")
    store = TraceStore(tmp_path, described([WeakAlone()]))
    store.close()
    assert store.finished == {"hand-a"}
    (read,) = store.read()
    assert read.solution == "1) add\n\n2) so\n\n\\boxed{2}"
    assert [each.text for each in read.steps] == ["1) add", "2) so", "\\boxed{2}"]
    assert not read.unfinished


STEP = Step("a", Author.WEAK, Action.CONTINUE)
ONE_STEP = Trace("q", "weak", 0, (STEP,)).to_json()


@pytest.mark.parametrize("record", [None, 3, [], "text", {}, {"steps": []}])
def test_another_shape_is_no_trace(record):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Trace.from_json(record)


@pytest.mark.parametrize("name", ["question", "policy", "seed", "steps", "finish", "usage"])
def test_a_trace_without_a_part_is_none(name):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Trace.from_json({key: value for key, value in ONE_STEP.items() if key != name})


@pytest.mark.parametrize(
    "part",
    [
        {"steps": None},
        {"steps": 3},
        {"steps": "text"},
        {"steps": [[]]},
        {"steps": [{"text": "a"}]},
        {"steps": [{**ONE_STEP["steps"][0], "author": "nobody"}]},
        {"steps": [{**ONE_STEP["steps"][0], "action": "wait"}]},
        {"steps": [{**ONE_STEP["steps"][0], "colour": "red"}]},
        {"usage": None},
        {"usage": []},
        {"usage": "text"},
        {"usage": {"weak": 3}},
        {"usage": {"weak": {"words": 1}}},
        {"finish": "later"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_trace_with_another_part_is_none(part):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Trace.from_json({**ONE_STEP, **part})


class Offline:
    """A model that does not answer while `down`, and is the strong one's otherwise."""

    name = "offline"

    def __init__(self, model, questions=None, times=None):
        self.model, self.questions, self.times = model, questions, times

    async def write_step(self, prefix, sampling, seed):
        down = self.questions is None or prefix.question in self.questions
        if down and self.times != 0:
            if self.times is not None:
                self.times -= 1
            raise ModelUnavailable("server: no answer")
        return await self.model.write_step(prefix, sampling, seed)


def many(count):
    return [problem(str(number)) for number in range(count)]


def finishes(traces):
    return {trace.problem_id: trace.finish for trace in traces}


def test_what_fails_is_tried_again_at_the_end_and_then_counts(tmp_path):
    for down, times, expected in (
        ("question 1", 1, Finish.ANSWER),
        ("question 1", None, Finish.FAILED),
    ):
        weak = Offline(writer("weak"), {down}, times)
        folder = tmp_path / str(times)
        traces = run(evaluation(many(12), (WeakAlone(),), weak=weak, concurrency=1), folder)
        assert finishes(traces) == {
            f"hand-{n}": expected if n == 1 else Finish.ANSWER for n in range(12)
        }
        (again,) = [trace for trace in traces if trace.problem_id == "hand-1"]
        assert again.failure == ("server: no answer" if times is None else None)


def test_a_run_stops_when_nobody_answers_and_continues_later(tmp_path):
    down = {f"question {number}" for number in range(5, 40)}
    weak = Offline(writer("weak"), down)
    with pytest.raises(ModelUnavailable, match="8 problems in a row failed: server: no answer"):
        run(evaluation(many(40), (WeakAlone(),), weak=weak, concurrency=2), tmp_path)
    healthy = evaluation(many(40), (WeakAlone(),))
    traces = run(healthy, tmp_path)
    assert in_order(traces) == in_order(run(evaluation(many(40), (WeakAlone(),)), tmp_path / "b"))
    assert len({prefix.question for prefix in healthy.models.weak.calls}) == 35


def test_a_problem_that_one_policy_can_solve_is_kept(tmp_path):
    weak = Offline(writer("weak"))
    traces = run(evaluation(many(20), (WeakAlone(), StrongAlone()), weak=weak), tmp_path)
    by_policy = {policy: [t.finish for t in traces if t.policy == policy] for policy in
                 ("weak", "strong")}  # fmt: skip
    assert by_policy == {"weak": [Finish.FAILED] * 20, "strong": [Finish.ANSWER] * 20}
