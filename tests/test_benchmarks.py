"""Benchmarks and files of problems: how they are read, run and refused."""

import asyncio
import csv
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.cli.main import main
from trim.cli.problems import choose_problems
from trim.configuration.source import Models
from trim.errors import ContextExceeded, InvalidInput
from trim.evaluation.benchmarks.benchmark import Record
from trim.evaluation.benchmarks.catalog import BUILT_IN, LETTERS, benchmark_names, find_benchmark
from trim.evaluation.benchmarks.data_file import DataFile
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.evaluate import policies_on
from trim.evaluation.run import Evaluation
from trim.evaluation.store import TraceStore
from trim.grading.grader import find_grader
from trim.grading.workers import GraderPool
from trim.models.prompt import Prompt
from trim.testing import ScriptedModel
from trim.types import Finish

DATA = Path(__file__).parents[2] / "shared" / "data" / "benchmarks"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/benchmarks")

SIZES = {
    ("math500", "test"): 500,
    ("aime", "test"): 482,
    ("aime", "train"): 451,
    ("olympiadbench", "test"): 675,
    ("minerva", "test"): 272,
    ("gsm8k", "test"): 1319,
    ("gsm8k", "train"): 2000,
    ("math500", "train"): 1100,
}
CHOICES = {
    "Question": "Which gas do plants take in?",
    "Correct Answer": "carbon dioxide",
    "Incorrect Answer 1": "oxygen",
    "Incorrect Answer 2": "nitrogen",
    "Incorrect Answer 3": "argon",
}


def write_lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_csv(path, *records):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, records[0])
        writer.writeheader()
        writer.writerows(records)
    return path


def trim(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result):
    """The one line that names the mistake."""
    assert result.exit_code == 2, result.output
    return result.stderr.strip().splitlines()[-1]


PLUGIN = """
from trim.evaluation.benchmarks import Benchmark, BenchmarkProblem


def read(record):
    return BenchmarkProblem(
        f"sums-{record.number}", record.text("task"), record.text("sum"), grader="integer"
    )


SUMS = Benchmark("sums", {"test": "sums"}, read)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with entry points in the group `trim.benchmarks`."""
    (tmp_path / "sums_plugin.py").write_text(PLUGIN)
    information = tmp_path / "sums_plugin-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: sums-plugin\nVersion: 1.0\n"
    )
    (information / "entry_points.txt").write_text(
        "[trim.benchmarks]\nsums = sums_plugin:SUMS\nwrong = sums_plugin:read\n"
        "missing = sums_plugin:absent\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    write_lines(tmp_path / "sums.jsonl", {"task": "1+1?", "sum": 2}, {"task": "2+3?", "sum": 5})
    yield tmp_path
    sys.modules.pop("sums_plugin", None)


def test_another_package_offers_a_benchmark(plugin):
    problem_set = choose_problems("sums", None, 0, Selection(data=plugin), shuffle=False)
    assert [problem.answer for problem in problem_set.problems] == ["2", "5"]
    assert problem_set.metadata["benchmark"] == "sums"
    assert "sums" in benchmark_names()
    with pytest.raises(InvalidInput, match=r"known: chain.*gpqa, sums, "):
        choose_problems("sumz", None, 0, Selection(data=plugin))


@pytest.mark.parametrize("name, said", [("wrong", "is a function"), ("missing", "AttributeError")])
def test_a_benchmark_of_another_package_that_is_unusable_is_refused(plugin, name, said):
    with pytest.raises(InvalidInput, match=said) as error:
        find_benchmark(name)
    assert "\n" not in str(error.value)


@needs_data
@pytest.mark.parametrize("name, split", SIZES)
def test_published_files_are_read_whole(name, split):
    problem_set = Selection(data=DATA, split=split).open(name, None)
    assert len(problem_set.problems) == SIZES[name, split]
    assert len({problem.id for problem in problem_set.problems}) == SIZES[name, split]
    instruction = problem_set.metadata["instruction"]
    assert problem_set.prompt == Prompt(user=f"{{question}}\n\n{instruction}")
    assert not any(instruction in problem.question for problem in problem_set.problems)
    assert all(problem.answer and find_grader(problem.grader) for problem in problem_set.problems)


@needs_data
def test_published_answers_are_right_by_their_own_graders():
    for name, split in SIZES:
        for problem in Selection(data=DATA, split=split).open(name, None).problems:
            answer = problem.answer.partition(" or ")[0]
            grader = find_grader(problem.grader)
            assert grader.grade(rf" \boxed{{{answer}}} ", problem.answer), problem


def test_each_benchmark_reads_the_fields_that_its_authors_use(tmp_path):
    write_lines(tmp_path / "math500.jsonl", {"unique_id": "a", "problem": "1+1?", "answer": "2"})
    write_lines(tmp_path / "aime_test.jsonl", {"ID": "x-1", "problem": "n?", "solution": "073"})
    write_lines(tmp_path / "gsm8k.jsonl", {"question": "How much?", "answer": "so\n#### 1,450"})
    write_lines(
        tmp_path / "minerva_math.jsonl", {"problem": "L?", "solution": r"$L=\boxed{4.5e33}$ erg"}
    )
    write_lines(
        tmp_path / "olympiadbench.jsonl",
        {
            "id": 7,
            "question": "r?",
            "context": "Towns grow.",
            "final_answer": ["4.2"],
            "error": "1e-1",
        },
    )
    write_csv(tmp_path / "gpqa_diamond.csv", CHOICES)
    found = {
        name: Selection(data=tmp_path, instruction="").open(name, None).problems[0]
        for name in BUILT_IN
    }
    read = {name: (problem.id, problem.question) for name, problem in found.items()}
    assert read["math500"] == ("a", "1+1?")
    assert read["aime"] == ("x-1", "n?")
    assert read["olympiadbench"] == ("olympiadbench-7", "Towns grow.\n\nr?")
    right = {
        "math500": r"\text{2}",
        "aime": "73",
        "gsm8k": "$1450",
        "minerva": r"4.5 \times 10^{33} \text{ erg}",
        "olympiadbench": "4.3",
        "gpqa": f"({found['gpqa'].answer})",
    }
    for name, problem in found.items():
        grader = find_grader(problem.grader)
        assert grader.grade(right[name], problem.answer), name
        assert not grader.grade("5", problem.answer), name


@given(st.text("abcdefgh", min_size=1))
def test_the_letter_of_a_shuffled_choice_is_where_the_right_answer_stands(question):
    record = Record({**CHOICES, "Question": question}, "row 1", 0)
    problem = BUILT_IN["gpqa"].read(record)
    assert problem == BUILT_IN["gpqa"].read(record)
    assert f"({problem.answer}) carbon dioxide" in problem.question
    choices = [line[4:] for line in problem.question.splitlines() if line.startswith("(")]
    assert sorted(choices) == sorted(value for name, value in CHOICES.items() if name[0] != "Q")


def test_the_right_choice_stands_everywhere():
    letters = {
        BUILT_IN["gpqa"].read(Record({**CHOICES, "Question": f"q{n}"}, "row", n)).answer
        for n in range(40)
    }
    assert letters == set(LETTERS)


def test_files_of_three_kinds_hold_the_same_problems(tmp_path):
    records = [{"q": f"what, is\n{n}?", "a": n, "name": f"n{n}"} for n in range(3)]
    table = pa.Table.from_pylist(records)
    pq.write_table(table, tmp_path / "set.parquet")
    write_lines(tmp_path / "set.jsonl", *records)
    write_csv(tmp_path / "set.csv", *records)
    selection = Selection(question="q", answer="a", id="name", grader="exact", instruction="")
    read = [selection.open(str(tmp_path / f"set.{end}"), 2) for end in ("jsonl", "parquet", "csv")]
    assert read[0].problems == read[1].problems == read[2].problems
    assert [problem.id for problem in read[0].problems] == ["n0", "n1"]
    assert read[0].problems[1].question == "what, is\n1?"
    assert len({one.metadata["sha256"] for one in read}) == 3


GOOD = {"q": "1+1?", "a": "2"}
FIELDS = ("--question", "q", "--answer", "a")


@pytest.mark.parametrize(
    "content, words, said",
    [
        ('{"q": "1+1?", "a": "2"}\n{"q": \n', FIELDS, "line 2: invalid JSON"),
        ("[1]\n", FIELDS, "line 1: not a JSON object"),
        ('{"q": "1+1?"}\n', FIELDS, "line 1: no field 'a'; its fields are q"),
        ('{"q": "1+1?", "a": null}\n', FIELDS, "line 1: field 'a' holds a NoneType, not text"),
        ('\n{"q": " ", "a": "2"}\n', FIELDS, "line 2: field 'q' is empty"),
        ("\n", FIELDS, "empty; at least one problem"),
        (json.dumps(GOOD), (), "--question problem --answer answer"),
        (json.dumps(GOOD), (*FIELDS, "--grader", "nonsense"), "unknown grader"),
        (json.dumps(GOOD), (*FIELDS, "--split", "test"), "only a benchmark has splits"),
        (json.dumps(GOOD), (*FIELDS, "-n", "2"), "from 1 to 1 problems"),
        (json.dumps(GOOD), (*FIELDS, "-n", "0"), "from 1 to 1 problems"),
        (json.dumps(GOOD), (*FIELDS, "--skip", "1"), "has 1 problems; skip at most 0"),
        (f"{json.dumps(GOOD)}\n" * 3, (*FIELDS, "--skip", "1", "-n", "3"), "from 1 to 2 problems"),
        (json.dumps(GOOD), (*FIELDS, "--policy", "oracle"), "oracle-query"),
        (f"{json.dumps(GOOD)}\n" * 2, (*FIELDS, "--id", "q"), "line 2: id '1+1?' occurs twice"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path, content, words, said):
    path = tmp_path / "set.jsonl"
    path.write_text(content)
    out = tmp_path / "run"
    assert said in refused(trim("eval", path, *words, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["nonsense"], "unknown suite or benchmark 'nonsense'; known: chain"),
        (["none.jsonl", *FIELDS], "cannot be read"),
        (["chain", "--grader", "math"], "chain is a suite"),
        (["gsm8k", "--data", "."], "gsm8k.jsonl or gsm8k.parquet or gsm8k.csv"),
        (["aime"], "--data FOLDER with aime_test.jsonl"),
        (["aime", "--split", "dev"], "aime has test, train"),
        (["gsm8k", "--split", "train", "--data", "."], "gsm8k_train.csv or gsm8k_train_2k.jsonl"),
        (["chain", "--skip", "many"], "'many' is not a valid integer"),
        (["math500", "--grader", "exact"], "math500 defines its own"),
    ],
)
def test_what_is_no_source_of_problems_is_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIM_DATA", raising=False)
    assert said in refused(trim("eval", *words, "--out", "run"))
    assert not (tmp_path / "run").exists()


@needs_data
def test_splits_have_no_problem_in_common_and_no_id():
    for name in ("math500", "gsm8k", "aime"):
        test, train = (
            Selection(data=DATA, split=each).open(name, None) for each in ("test", "train")
        )
        for of in (lambda found: found.fingerprints, lambda found: [p.id for p in found.problems]):
            assert not set(of(test)) & set(of(train)), name
    assert train.metadata["split"] == "train"


def test_training_problems_are_read_from_the_whole_file_or_a_part_of_it(tmp_path):
    record = {"question": "How much?", "answer": "so\n#### 1,450"}
    selection = Selection(data=tmp_path, split="train", instruction="")
    write_lines(tmp_path / "gsm8k_train_2k.jsonl", record)
    assert selection.open("gsm8k", None).problems[0].id == "gsm8k-train-0"
    write_lines(tmp_path / "gsm8k_train.jsonl", record, record)
    assert [each.id for each in selection.open("gsm8k", None).problems][-1] == "gsm8k-train-1"
    # MATH has neither ids nor answers beside its solutions.
    named = {"unique_id": "train/algebra/7.json", "problem": "a?", "answer": "5"}
    plain = {"problem": "b?", "solution": r"so $\boxed{\frac{1}{2}}$", "level": "Level 1"}
    write_lines(tmp_path / "math_train.jsonl", named, plain)
    found = selection.open("math500", None).problems
    read = [(each.id, each.answer) for each in found]
    assert read == [
        ("math500-train-train/algebra/7.json", "5"),
        ("math500-train-1", r"\frac{1}{2}"),
    ]
    write_lines(tmp_path / "math_train.jsonl", {"problem": "b?", "solution": "no box"})
    with pytest.raises(InvalidInput, match="line 1: field 'solution' has no"):
        selection.open("math500", None)


# Order, and which problems are left out.


ORDER_OF_SEED_0 = ["set-0", "set-25", "set-20", "set-2", "set-8"]


def numbered(path, count):
    write_lines(path, *({"q": f"{n}?", "a": str(n)} for n in range(count)))
    return str(path)


def ids(name, count, seed, **options):
    selection = Selection(question="q", answer="a", **options)
    return [problem.id for problem in selection.open(name, count, seed).problems]


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    return numbered(tmp_path_factory.mktemp("set") / "set.jsonl", 40)


@given(seed=st.integers(), skip=st.integers(0, 39), count=st.integers(1, 40))
@settings(max_examples=40)
def test_a_seed_shuffles_and_skip_and_count_cut_a_piece_out(forty, seed, skip, count):
    name = forty
    whole = ids(name, None, seed)
    assert whole == ids(name, None, seed)
    assert sorted(whole) == sorted(f"set-{n}" for n in range(40))
    count = min(count, 40 - skip)
    assert ids(name, count, seed, skip=skip) == whole[skip : skip + count]
    assert ids(name, None, seed, skip=skip) == whole[skip:]


def test_every_seed_has_an_order_of_its_own_and_none_keeps_that_of_the_file(tmp_path):
    name = numbered(tmp_path / "set.jsonl", 40)
    assert len({tuple(ids(name, 10, seed)) for seed in range(20)}) == 20
    assert ids(name, None, None) == [f"set-{n}" for n in range(40)]
    # Shuffles of one machine and version are those of every other.
    assert ids(name, 5, 0) == ORDER_OF_SEED_0
    kept = Selection(question="q", answer="a", skip=2)
    assert choose_problems(name, 3, 1, kept, shuffle=False).problems[0].id == "set-2"
    assert choose_problems(name, 3, 1, kept).problems[0].id == ids(name, 3, 1)[2]


def test_what_is_left_out_is_part_of_what_a_run_is(tmp_path):
    name = numbered(tmp_path / "set.jsonl", 6)
    described = [
        Selection(question="q", answer="a", skip=skip).open(name, 1, seed).metadata
        for skip, seed in ((0, 1), (1, 1), (1, None))
    ]
    assert [(each["skip"], each["shuffled"]) for each in described] == [
        (0, True),
        (1, True),
        (1, False),
    ]


def test_a_suite_skips_the_first_problems_of_a_seed():
    whole = choose_problems("chain", 6, 3, Selection())
    later = choose_problems("chain", 4, 3, Selection(skip=2))
    assert [each.id for each in later.problems] == [each.id for each in whole.problems[2:]]
    assert (whole.metadata, later.metadata) == ({}, {"skip": 2})
    first = later.problems[0]
    assert later.is_right(first.question, (), first.steps[0])


def test_a_server_s_questions_are_not_skipped(tmp_path):
    words = ("--from-server", tmp_path / "no.sqlite", "--skip", "1", "--out", tmp_path / "bank")
    assert "--skip: goes with a suite" in refused(trim("collect", *words))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "set.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(InvalidInput, match="damaged"):
        DataFile.read(tmp_path / "set.parquet")


def test_without_the_hub_a_folder_is_asked_for(monkeypatch):
    selection = Selection()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InvalidInput, match=r"--data FOLDER .* 'trim-router\[hub\]' to fetch"):
        selection.open("math500", None)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's client with an empty cache, and a hub that cannot be reached."""
    client = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
    monkeypatch.setattr(client.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(client.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(client.constants, "HUGGINGFACE_CO_URL_TEMPLATE", UNREACHABLE)
    return client


UNREACHABLE = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"


def test_a_hub_that_cannot_be_reached_is_an_error_of_one_line(hub, monkeypatch):
    tried = []
    monkeypatch.setattr(hub, "hf_hub_download", lambda *words, **options: tried.append(words))
    with pytest.raises(InvalidInput, match=r"ConnectError.*--data FOLDER") as error:
        Selection().open("gsm8k", None)
    assert "\n" not in str(error.value)
    assert not tried, "the client retries a download for half a minute"


def test_a_file_in_the_hubs_cache_is_read_as_one_from_a_folder(hub, tmp_path):
    repository = tmp_path / "cache" / "datasets--HuggingFaceH4--MATH-500"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    write_lines(snapshot / "test.jsonl", {"unique_id": "a", "problem": "?", "answer": "2"})
    assert Selection().open("math500", None).problems[0].answer == "2"


# Runs.


def solve_all(tmp_path, problem_set, weak, strong, specs=("weak", "strong", "oracle-query")):
    policies = policies_on(specs, problem_set)
    store = TraceStore(tmp_path, {"policies": [policy.name for policy in policies]})
    with GraderPool(1) as grading:
        evaluation = Evaluation(
            problem_set.problems,
            policies,
            Models(ScriptedModel(weak), ScriptedModel(strong), {}),
            None,
            grading=grading,
            keep_too_long=True,
        )
        asyncio.run(evaluation.run(store))
    store.close()
    return {(trace.problem_id, trace.policy): trace for trace in store.read()}


def test_scripted_models_are_graded_by_the_rules_of_the_data_set(tmp_path):
    records = [{"unique_id": name, "problem": f"{name}?", "answer": "1,-2"} for name in "ab"]
    write_lines(tmp_path / "math500.jsonl", *records)
    problem_set = Selection(data=tmp_path).open("math500", None)
    traces = solve_all(
        tmp_path / "run",
        problem_set,
        weak=lambda prefix: r"\boxed{1, -3}" if "a?" in prefix.question else r"\boxed{-2, 1}",
        strong=lambda prefix: r"$x = \boxed{\{-2, 1\}}$",
    )
    correct = {key: trace.correct for key, trace in traces.items()}
    assert correct["a", "weak"] is False and correct["b", "weak"] is True
    assert correct["a", "strong"] and correct["b", "strong"]
    # The query oracle knows by the same grades where only the strong model is right.
    assert (
        traces["a", "oracle-query"].strong_tokens and not traces["b", "oracle-query"].strong_tokens
    )


def test_a_question_that_fits_no_context_is_kept_unfinished(tmp_path):
    write_lines(tmp_path / "set.jsonl", GOOD, {"q": "long?", "a": "5"})
    selection = Selection(question="q", answer="a")
    traces = solve_all(
        tmp_path / "run",
        selection.open(str(tmp_path / "set.jsonl"), None),
        weak=lambda prefix: ContextExceeded("long") if "long" in prefix.question else r"\boxed{2}",
        strong=lambda prefix: r"\boxed{5}",
    )
    lost = traces["set-1", "weak"]
    assert lost.finish is Finish.CONTEXT and lost.unfinished and lost.correct is False
    assert traces["set-1", "strong"].correct and traces["set-0", "weak"].correct


def test_the_folder_of_a_run_says_on_what_it_depends(tmp_path):
    data = write_lines(tmp_path / "set.jsonl", GOOD)
    out = tmp_path / "run"
    words = ["eval", data, *FIELDS, "--policy", "weak", "--seed", "4", "--out", out]
    assert trim(*words).exit_code == 0
    described = json.loads((out / "run.json").read_text())
    assert described["instruction"].startswith("Please reason step by step")
    assert described["fields"] == {"question": "q", "answer": "a", "id": None}
    assert described["sha256"] == DataFile.read(data).sha256
    assert set(described["models"]) == {"weak", "strong", "scorer", "joint"}
    assert {"python", "xllamacpp", "math-verify"} <= set(described["versions"])
    (line,) = (out / "traces.jsonl").read_text().splitlines()
    trace = json.loads(line)
    assert trace["question"] == "1+1?"
    assert trace["problem_id"] == "set-0" and trace["correct"] in (True, False)
    # The same command finds the run finished; another file of that name is another run.
    assert trim(*words).exit_code == 0
    assert (out / "traces.jsonl").read_text().splitlines() == [line]
    write_lines(data, {**GOOD, "a": "3"})
    assert "holds another run" in refused(trim(*words))
