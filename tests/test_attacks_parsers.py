"""Attacks through files and texts: what the command line reads and writes, staged with seeds."""

import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from damaged_files import (
    KINDS,
    SLOW,
    Files,
    become_device,
    become_folder,
    become_pipe,
    harmless,
)
from fuzzing import other_seeds
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from trim.cli.main import main
from trim.cli.progress import progress_bar
from trim.cli.solution import SolutionView
from trim.cli.terminal import HarmlessConsole, new_console
from trim.configuration.document import LARGEST, MOST_VALUES, read_document
from trim.documents import DEEPEST, MOST_DIGITS, parse_json
from trim.errors import InvalidInput
from trim.evaluation.progress import RunProgress
from trim.events import Finished, Kept, SpanWritten
from trim.files import FolderLock, open_to_append, read_bytes, write_atomically
from trim.grading.extraction import find_answer
from trim.grading.grader import find_grader
from trim.grading.latex import clean, without_unit
from trim.grading.mathematics import Mathematics
from trim.rollouts.bank import read_bank
from trim.rollouts.import_traces import import_traces
from trim.rollouts.store import BankStore
from trim.terminal import one_line, printable
from trim.types import Action, Author, Finish, Step, Trace, Usage

ROUNDS = 3
"""Damaged files of each kind in `make test`."""


def run(*words, **named):
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="trim", **named)


def refusal(ran):
    assert ran.exit_code == 2, (ran.exit_code, ran.output, ran.exception)
    assert ran.stderr.startswith("trim: ") and ran.stderr.count("\n") == 1
    return ran.stderr


# Damaged files of every kind


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_file_is_one_line_and_costs_nothing(files, kind):
    """Seeded; `make fuzz` goes on with other seeds."""
    for seed in range(ROUNDS if kind.name in SLOW else 4 * ROUNDS):
        files.check(kind, random.Random(f"{kind.name} {seed}"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_no_file_is_one_line(files, kind):
    """A folder, a device without an end, and a pipe that nobody writes to."""
    for how in (become_folder, become_device, become_pipe):
        files.replace(kind, how)


@pytest.mark.fuzz
def test_damaged_files_of_other_seeds(files):
    for seed in other_seeds(0.4):
        for kind in KINDS:
            try:
                files.check(kind, random.Random(f"{kind.name} {seed}"))
            except AssertionError as error:
                raise AssertionError(f"{kind.name} {seed}: {error}") from error


@pytest.mark.parametrize("name", ["run/traces.jsonl", "run/run.json", "run/bill.json"])
@pytest.mark.parametrize("content", [b"{}\n", b"\0" * 64, b"[" * 10_000, b"\xff\n", b"not ours\n"])
def test_what_was_paid_for_stays(files, tmp_path, name, content):
    """Nothing of a run's folder is written to where one of its files cannot be read."""
    folder = tmp_path / "all"
    subprocess.run(["cp", "-r", files.valid, folder], check=True)
    (folder / name).write_bytes(content)
    kind = next(each for each in KINDS if each.file == name)
    before = {path: path.read_bytes() for path in (folder / "run").iterdir()}
    ran = run(*kind.words(folder))
    if name != "run/bill.json" or content != b"{}\n":  # an empty bill is one
        refusal(ran)
        kept = {path: path.read_bytes() for path in before}
        assert kept == before


def test_a_bank_is_not_started_over_foreign_parts(tmp_path, files):
    identity = read_bank(files.valid / "bank").identity
    part = tmp_path / "parts" / "theirs.parquet"
    part.parent.mkdir()
    part.write_bytes(b"something else")
    with pytest.raises(InvalidInput, match=r"no bank\.json beside its folder parts"):
        BankStore(tmp_path, identity)
    assert {path.name for path in tmp_path.rglob("*")} == {"parts", "theirs.parquet"}


def test_half_a_character_of_a_model_costs_no_bank(tmp_path, files):
    bank = read_bank(files.valid / "bank")
    problem = bank.problems[0]
    node = problem.nodes[0]
    written = replace(problem, nodes=(replace(node, draft="a\ud83d"), *problem.nodes[1:]))
    store = BankStore(tmp_path / "new", bank.identity)
    store.add(written)
    store.flush()
    assert read_bank(tmp_path / "new").problems[0].nodes[0].draft == "a?"


# Files that are none


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
    ],
)
def test_only_regular_files_are_read_and_written(tmp_path, make, reason):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=reason):
        read_bytes(path)
    with pytest.raises(OSError):
        open_to_append(path)
    if reason != "symbolic links":
        with pytest.raises(OSError, match=reason):
            write_atomically(path, "x")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_no_name_of_a_file_is_one_line(tmp_path):
    for path in (Path("a\0b"), Path("\ud800"), Path("x" * 5000)):
        with pytest.raises(OSError):
            read_bytes(path)
        with pytest.raises(OSError):
            write_atomically(path, "x")
        with pytest.raises(OSError):
            open_to_append(path)
        with pytest.raises(InvalidInput):
            FolderLock(path)


def test_nothing_is_written_through_a_link(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    ours = tmp_path / "ours"
    ours.symlink_to(theirs)
    with pytest.raises(OSError):
        open_to_append(ours)
    (tmp_path / f".ours.{os.getpid()}.partial").symlink_to(theirs)
    write_atomically(ours, "ours")
    assert (ours.read_text(), theirs.read_text(), ours.is_symlink()) == ("ours", "theirs", False)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(InvalidInput):
        FolderLock(folder)
    assert not (tmp_path / "made").exists()


def test_a_document_has_a_largest_size(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 101)
    with pytest.raises(OSError, match="larger than 100 bytes"):
        read_bytes(path, 100)
    assert len(read_bytes(path, 101)) == 101


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("trim.rollouts.import_traces.UNPACKED", 10_000)
    path = tmp_path / "traces.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 10_001))
    with pytest.raises(InvalidInput, match="unpacks to more than 10,000 bytes"):
        import_traces(path, tmp_path / "out")


# JSON, YAML and TOML

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(values)
def test_json_within_the_bounds_is_read_as_ever(value):
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value


@given(st.text() | st.binary())
@example("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example("9" * (MOST_DIGITS + 1))
@example("9" * 5000)
@example("-" + "9" * 5000)
@example("NaN")
@example("[-Infinity]")
@example(b"\xff")
@example(b"\xed\xa0\x80")
@example("\ufeff1")
def test_no_text_is_more_than_a_value_error(text):
    try:
        parse_json(text)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1


def test_json_at_its_bounds():
    assert parse_json("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1
    parse_json("[" * DEEPEST + "]" * DEEPEST)
    assert parse_json("NaN", finite=False) != 0
    assert parse_json("\ufeff{}".encode()) == {}


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}\n"
    for n in range(9)
)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.yaml", ALIASES, f"more than {MOST_VALUES:,} values, aliases included"),
        ("a.yaml", MERGES, f"more than {MOST_VALUES:,} values, aliases included"),
        ("a.yaml", "a: &a [*a]", "an alias within what it stands for"),
        ("a.yaml", "a: " + "[" * 5000, "nested more than 100 levels deep"),
        ("a.yaml", "a: " + "9" * 400, "an integer beyond"),
        ("a.yaml", "a: " + "9" * 5000, "an integer beyond"),
        ("a.yaml", "a: 1" + ":59" * 300 + ".5", "an integer beyond"),
        ("a.yaml", r'a: "\ud800"', r"U+D800"),
        ("a.yaml", r'a: "x\0"', "U+0000"),
        ("a.yaml", "a: 2020-99-99", "month must be in 1..12"),
        ("a.yaml", "#" * (LARGEST + 1), "larger than"),
        ("a.toml", "a = " + "[" * 5000, "nested more than 100 levels deep"),
        ("a.toml", "a" + ".a" * 50_000 + " = 1", "nested more than 100 levels deep"),
        ("a.toml", "a = " + "9" * 5000, "an integer beyond"),
        ("a.toml", "a = " + "9" * 400, "an integer beyond"),
    ],
    ids=lambda value: None if len(value) > 40 else value,
)
def test_configurations_within_bounds(tmp_path, name, text, reason):
    path = tmp_path / name
    path.write_text(text)
    started = time.process_time()
    ran = run("eval", "chain", path, "--out", tmp_path / "out")
    assert reason in refusal(ran)
    assert time.process_time() - started < 5
    assert not (tmp_path / "out").exists()


def test_anchors_of_a_usual_size_work(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("weak: &a {api: openai, n: 1}\nstrong: {<<: *a, m: 2}\n")
    assert read_document(path)["strong"] == {"api": "openai", "n": 1, "m": 2}


@pytest.mark.parametrize(
    "assignment",
    ["a=" + "[" * 3000, ".".join("a" * 300) + "=1", "weak=&a [*a]", "weak.slots=" + "9" * 400,
     "weak.url=\udcff", r'weak.url="\ud800"', "intermediate.99999999999999999999.url=x"],
    ids=range(7),
)  # fmt: skip
def test_assignments_within_bounds(files, tmp_path, assignment):
    words = ("eval", "chain", files.valid / "trim.yaml", "--set", assignment)
    refusal(run(*words, "--out", tmp_path / "out"))


# Traces


@given(st.data())
def test_a_trace_with_other_types_is_no_trace(data):
    step = Step("a\n\n", Author.WEAK, Action.CONTINUE, 0.5, draft_tokens=3)
    record = json.loads(json.dumps(Trace("q", "weak", 0, (step,)).to_json()))
    assert Trace.from_json(record).steps == (step,)
    where = data.draw(st.sampled_from((record, record["steps"][0], record["usage"]["weak"])))
    name = data.draw(st.sampled_from(sorted(where)))
    where[name] = data.draw(
        st.sampled_from([-1, 2**63, 10**299, 0.5, float("inf"), float("nan"), "x", [], {}, [1]])
    )
    try:
        trace = Trace.from_json(record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    json.dumps(trace.to_json(), allow_nan=False)
    assert 0 <= trace.strong_tokens <= 2**53 and trace.discarded_tokens <= 2**53
    assert isinstance(trace.solution, str)


# Texts that graders and scorers read

WORDS = ("a", " ", "\n", "5", "\\text{", "\\boxed{", "answer is ", "(", "}", "cm/", "and", "where ",
         "\\frac{1}", "^{", "'", "~", ",\\!", "A ", "(A", "/", "x=", "\\angle A", "$", "1,",
         " or ")  # fmt: skip


@pytest.mark.parametrize("unit", WORDS)
def test_grading_takes_time_in_proportion_to_the_answer(unit):
    """100 kB; most of these took minutes, or did not end."""
    plain = Mathematics(formulas=lambda answer, reference: False)
    for text in (unit * (100_000 // len(unit)), f"5{unit * (100_000 // len(unit))}!"):
        started = time.process_time()
        for name in ("letter", "integer", "amount"):
            find_grader(name).grade(text, "5")
            find_answer(text, name, takes_open_box=True)
        plain.grade(text, "5 m")
        plain.grade(text[:1990], "(1, 2)")
        clean(text)
        assert time.process_time() - started < 5
    without_unit(clean(f"5{unit * (1990 // len(unit))}!"))


def test_units_and_blanks_are_read_as_before():
    for text in ("5 square meters", "9 km/h", "15 cm^2", "3 ft", "7 kg m", "5 miles per hour"):
        assert without_unit(text).isdigit() == (text != "7 kg m")
    assert clean("1  2 \n\n where  x") == "1 2"
    assert clean("a\\ \t b  \\\n c") == clean("a\\ b \\\n c")


@pytest.mark.parametrize("name", ["within:1e999999999", "within:" + "9" * 5000])
def test_a_tolerance_is_a_short_number(name):
    with pytest.raises(InvalidInput):
        find_grader(name)


# Terminals

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202eevil\u2066\u2028\ud800"


@given(st.text(st.characters(codec=None)) | st.just(HOSTILE))
def test_no_text_controls_a_terminal(text):
    for shown in (printable(text), one_line(text)):
        assert harmless(shown)
        shown.encode()
    assert "\n" not in one_line(text) and "\t" not in one_line(text)
    assert printable(text).count("\n") == text.count("\n")
    plain = "Ein Text: é, 中文, עברית, 👩‍🔬 → $x^2$\n\tneu"
    assert printable(plain) == plain


def shown_on_terminal(show):
    stream = StringIO()
    console = HarmlessConsole(
        file=stream, force_terminal=True, color_system=None, width=80, markup=False, emoji=False
    )
    show(console)
    return stream.getvalue()


def test_a_solution_is_shown_harmlessly():
    step = Step(f"{HOSTILE}\n\n", Author.WEAK, Action.CONTINUE, 0.5, draft_tokens=3)
    trace = Trace("q", "weak", 0, (step,), answer=HOSTILE, finish=Finish.FAILED, failure=HOSTILE)

    def show(console):
        with SolutionView(console, None) as view:
            view.show(SpanWritten(0, Author.WEAK, HOSTILE, 1))
            view.show(Kept(0, step))
            view.show(Finished(trace))

    shown = shown_on_terminal(show)
    assert "\x1b]0" not in shown and "\x9b" not in shown and "\u202e" not in shown
    assert r"\x1b]0;owned\x07" in shown and r"\x9b31m" in shown and r"\u202e" in shown


def test_tables_and_lines_are_shown_harmlessly():
    def show(console):
        table = Table(HOSTILE, title=HOSTILE)
        table.add_column(Text(HOSTILE))
        table.add_row(HOSTILE, "[/b] [red] :smile:")
        console.print(table, f"{HOSTILE} [/b]")

    shown = shown_on_terminal(show)
    assert "\x1b" not in shown.replace("\x1b[", "") and "\x1b[2J" not in shown
    assert "[/b] [red] :smile:" in shown


def test_names_are_no_markup(capsys):
    new_console().print("[/b] out[red] :smile:")
    assert capsys.readouterr().out == "[/b] out[red] :smile:\n"
    title = "{task.__class__} [/b]\n\x1b[2J"
    with progress_bar(title, 1, Path("out")) as update:
        update(RunProgress(1))
    assert capsys.readouterr().err == f"{one_line(title)}: 1/1\n"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\x9b", "\u202e", "\udcff"])
def test_errors_are_one_harmless_line(tmp_path, name):
    error = refusal(run("plan", f"{name}.json", "--lambda", "1"))
    assert harmless(error)
    for words in (("solve", "q", f"--{name}"), (name,), ("fit-rival", name, "x")):
        ran = run(*words)
        assert ran.exit_code == 2 and harmless(ran.stderr), ran.stderr


def test_bytes_that_are_no_text_are_refused(tmp_path):
    assert "PROBLEM: not UTF-8 text" in refusal(run("solve", "\udcff"))
    ran = run("eval", "chain", "--instruction", "\udcff", "--out", tmp_path / "out")
    assert "--instruction: not UTF-8 text" in refusal(ran)


def test_a_narrow_encoding_loses_no_output():
    code = "from trim.cli.main import main; main(['generate', 'nonesuch-\\u2192-\\ud800'])"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(r"trim: unknown suite 'nonesuch-\u2192-\ud800'")


def test_texts_stay_verbatim_in_json():
    step = Step(f"{HOSTILE}\n\n", Author.WEAK, Action.CONTINUE, 0.5)
    trace = Trace(HOSTILE, "weak", 0, (step,), usage={**Trace("", "", 0).usage, "weak": Usage()})
    assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace


# Databases


def test_traffic_is_deleted_only_when_that_is_meant(files, tmp_path):
    database = tmp_path / "keys.sqlite"
    database.write_bytes((files.valid / "keys.sqlite").read_bytes())
    with sqlite3.connect(database) as connection:
        columns = connection.execute("pragma table_info(requests)").fetchall()
        required = {name: kind for _, name, kind, needed, default, _ in columns if needed}
        given = {name: "x" if "CHAR" in kind or kind == "TEXT" else 0
                 for name, kind in required.items()}  # fmt: skip
        marks = ", ".join("?" * len(given))
        connection.execute(
            f"insert into requests ({', '.join(given)}) values ({marks})", [*given.values()]
        )
    words = ("traffic", "delete", "--older-than", "1", "--database", database)
    assert "delete 1 request from" in refusal(run(*words))
    assert run(*words, "--yes").stdout == "1 request deleted\n"
    assert run(*words).stdout == "0 requests deleted\n"


def test_postgresql_without_its_driver_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    error = refusal(run("keys", "list", "--database", "postgresql://u:secret@127.0.0.1:1/n"))
    assert "trim-router[postgresql]" in error and "secret" not in error


def test_a_database_of_a_later_version_is_one_line(files, tmp_path):
    database = tmp_path / "keys.sqlite"
    database.write_bytes((files.valid / "keys.sqlite").read_bytes())
    with sqlite3.connect(database) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    assert "of another version of trim" in refusal(run("keys", "list", "--database", database))
