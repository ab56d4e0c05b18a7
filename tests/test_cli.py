"""The commands, as a person types them, in processes of their own."""

import inspect
import io
import json
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import click
import jsonschema
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from preloaded import completed
from rich.console import Console

from trim.cli.main import COMMANDS, main
from trim.cli.output import (
    comparisons_table,
    costs_table,
    curves_table,
    points_table,
)
from trim.cli.plan import prediction_table
from trim.cli.solution import show_events
from trim.cli.terminal import new_console
from trim.configuration.source import shipped_models
from trim.evaluation.suites import CHAIN, generate
from trim.events import SpanWritten
from trim.policies.registry import describe_families
from trim.router import Router
from trim.steps import bare
from trim.types import Author

TRIM = [sys.executable, "-c", "from trim.cli.main import main; main()"]
SCHEMA = Path(__file__).parents[1] / "docs" / "summary.schema.json"
PROBLEM = next(generate(CHAIN, 1, seed=9))


def trim(*words):
    """From nothing; what takes no part in the start is tried in less time (`completed`)."""
    return subprocess.run([*TRIM, *words], capture_output=True, text=True, timeout=120)


def refused(result):
    """One line on standard error that names the mistake, exit code 2, no traceback."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_solve_prints_steps_and_answer():
    result = trim("solve", PROBLEM.question, "--policy", "thr:0.5", "--seed", "3")
    assert result.returncode == 0
    assert "Answer" in result.stdout and "score" in result.stdout


def test_solve_json_is_the_same_for_the_same_seed():
    first, second = (
        json.loads(completed("solve", PROBLEM.question, "--seed", "3", "--json").stdout)
        for _ in "ab"
    )
    assert first["steps"] == second["steps"]
    assert first["usage"]["weak"]["tokens"] > 0
    assert first["money"] is first["against_strong"] is None


def test_generate_prints_problems():
    lines = completed("generate", "words", "-n", "5", "--seed", "4").stdout.splitlines()
    problems = [json.loads(line) for line in lines]
    assert len(problems) == 5
    assert all(f"\\boxed{{{p['answer']}}}" in p["steps"][-1] for p in problems)


def test_eval_writes_everything(tmp_path):
    out = tmp_path / "run"
    result = trim(
        "eval", "chain", "-n", "4", "--policy", "weak", "--policy", "strong", "--policy", "oracle",
        "--policy", "oracle-query", "--policy", "takeover:0.5", "--policy", "thr:0.1,0.5",
        "--policy", "random:0.3", "--seed", "2", "--out", str(out),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    summary = json.loads((out / "summary.json").read_text())
    jsonschema.validate(summary, json.loads(SCHEMA.read_text()))
    assert len((out / "traces.jsonl").read_text().splitlines()) == 4 * 8
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "curve.svg").read_text(encoding="utf-8")
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")


def test_interrupted_evaluation_continues(tmp_path):
    """As tests/test_kills.py has it, from the start of the interpreter on."""
    words = ["eval", "chain", "-n", "24", "--policy", "strong", "--policy", "thr:0.5", "--out"]
    process = subprocess.Popen([*TRIM, *words, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    traces = tmp_path / "traces.jsonl"
    while not (traces.exists() and traces.stat().st_size):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continues" in stderr and "Traceback" not in stderr
    kept = traces.read_text().splitlines()
    assert 0 < len(kept) < 24 * 2
    assert completed(*words, tmp_path).returncode == 0
    lines = traces.read_text().splitlines()
    assert (lines[: len(kept)], len(lines)) == (kept, 24 * 2)


BUSY = """
import time
from concurrent.futures import ThreadPoolExecutor
from trim.cli import main, solve

def write(**options):
    ThreadPoolExecutor().submit(time.sleep, 600)
    print("a step")
    raise {error}

solve.solve.callback = write
main()
"""
"""`trim solve` with a model that writes for ten minutes in a thread."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        ("KeyboardInterrupt", 130, "trim: interrupted\n"),
        ("__import__('trim').errors.ModelUnavailable('no answer')", 2, "trim: no answer\n"),
    ],
)
def test_a_command_ends_without_waiting_for_a_step(error, code, line):
    command = [sys.executable, "-c", BUSY.format(error=error), "solve", "x"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "a step\n", line)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["solve", "  "], "empty"),
        (["solve", "add 1. " * 3000], "context"),
        (["solve", "x", "--policy", "nonsense"], "unknown policy"),
        (["solve", "x", "--policy", "thr:1.5"], "0 to 1"),
        (["solve", "x", "--policy", "thr:nan"], "0 to 1"),
        (["solve", "x", "--policy", "thr"], "0 to 1"),
        (["solve", "x", "--policy", "thr:0.1,0.2"], "one setting"),
        (["solve", "x", "--policy", "oracle"], "trim eval"),
        (["solve", "x", "--models", "nowhere"], "no such folder"),
        (["solve", "x", "--prices", "nowhere.json"], "price list"),
        (["generate", "nonsense"], "unknown suite"),
        (["generate", "chain", "-n", "0"], "0"),
        (["eval", "nonsense", "--out", "x"], "unknown suite"),
        (["eval", "chain", "-n", "0", "--out", "x"], "at least one"),
    ],
)
def test_bad_input_is_one_clear_line(words, message, tmp_path):
    result = completed(*words, cwd=tmp_path)
    assert message in refused(result)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = completed("eval", "chain", "-n", "2", "--out", str(tmp_path / "file" / "run"))
    assert "name another --out" in refused(result)


def test_another_run_in_the_folder_is_refused(tmp_path):
    out = str(tmp_path / "run")
    command = ("eval", "chain", "--policy", "weak", "--out", out, "-n")
    assert completed(*command, 2).returncode == 0
    before = (tmp_path / "run" / "traces.jsonl").read_bytes()
    line = refused(completed(*command, 3))
    assert "holds another run" in line
    assert (tmp_path / "run" / "traces.jsonl").read_bytes() == before


def test_a_broken_price_list_is_refused(tmp_path):
    for content in ("nonsense", "[]", '{"strong": {"prompt": -1}}', '{"other": {}}'):
        (tmp_path / "prices.json").write_text(content)
        result = CliRunner().invoke(main, ["solve", "x", "--prices", str(tmp_path / "prices.json")])
        assert result.exit_code == 2


def run_here(*words):
    return CliRunner().invoke(main, list(words), prog_name="trim")


def test_help_lists_every_command_on_one_line():
    shown = run_here("--help").output.splitlines()
    assert max(map(len, shown)) <= 80
    for name, (_, line) in COMMANDS.items():
        assert f"  {name:<{max(map(len, COMMANDS))}}  {line}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listed_line_is_the_first_one_of_the_commands_own_help(name):
    command = main.get_command(click.Context(main), name)
    first, _, _ = inspect.cleandoc(command.help).partition("\n\n")
    assert COMMANDS[name][1] == first


def test_help_imports_no_command():
    code = "from trim.cli.main import main; main(['--help'], standalone_mode=False)\nimport sys\n"
    code += "print(sorted(m for m in sys.modules if m.startswith('trim') or m == 'numpy'))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    imported = ended.stdout.splitlines()[-1]
    needed = ("trim.cli", "trim.cli.main", "trim.cli.signals", "trim.errors", "trim.terminal")
    assert imported == str(["trim", *needed])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("evla", "'eval'"), ("calibrat", "'calibrate'"), ("fit-rivals", "'fit-rival'")],
)
def test_the_nearest_command_is_suggested(typed, meant):
    result = run_here(typed)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == (
        f"Error: No such command {typed!r}. Did you mean {meant}?"
    )
    assert "Did you mean" not in run_here("xyzzy").output


def test_commands_are_completed_without_their_import():
    complete = ShellComplete(main, {}, "trim", "_TRIM_COMPLETE")
    assert [item.value for item in complete.get_completions([], "fit")] == [
        "fit", "fit-scorer", "fit-rival", "fit-scope",
    ]  # fmt: skip
    assert "--policy" in {item.value for item in complete.get_completions(["solve"], "--")}


def test_version_is_that_of_the_distribution():
    assert run_here("--version").output == f"trim, version {version('trim-router')}\n"


POINT = {
    "policy": "classifier-embedding(chain-hard)", "setting": 0.95, "accuracy": 1.0,
    "accuracy_ci": [0.94, 1.0], "strong_share": 1.0, "strong_tokens_mean": 1234.5,
    "weak_tokens_mean": 1234.5, "discarded_tokens_mean": 1234.5, "interventions_mean": 12.34,
    "against_strong": {"money": {"value": 12.34}, "seconds": {"value": 12.34}},
    "money_mean": 0.000123, "seconds_mean": 1234.0, "hidden_strong_tokens_mean": {"grade": 123456},
    "strong_calls_mean": 123.4,
    "prompt_tokens_mean": {"strong": {"uncached": 1234.5, "cached": 123456.7}},
}  # fmt: skip
FIGURE = {"value": -0.5, "interval": [-0.75, -0.25]}
SUMMARY = {
    "suite": "chain-hard", "n": 500, "seed": 0, "points": [POINT],
    "seen": {POINT["policy"]: {"problems": 500, "of": 500}},
    "curves": {POINT["policy"]: {
        "cpt": dict.fromkeys(("50", "80", "95"), 1.0), "delta_ibc": -12.34, "apgr": 0.98,
        "budgeted_accuracy": {budget: {"accuracy": 1.0} for budget in ("10", "20")},
    }},
    "limit": {"50": 1.0, "80": 1.0, "95": 1.0, "delta_ibc": 12.34},
    "comparisons": [{
        "a": POINT["policy"], "b": "thr", "delta_ibc": FIGURE, "apgr": FIGURE,
        "cpt": {"95": FIGURE}, "shortfall": FIGURE,
    }],
}  # fmt: skip
TABLES = [points_table, costs_table, curves_table, prediction_table,
          lambda summary: comparisons_table(summary, "thr")]  # fmt: skip


@pytest.mark.parametrize("make_table", TABLES)
def test_tables_fit_80_columns_without_cut_cells(make_table):
    console, table = Console(width=80, file=io.StringIO()), make_table(SUMMARY)
    console.print(table)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for column in table.columns[1:]:
        assert all(line in shown for cell in column.cells for line in cell.splitlines())


def test_no_line_is_wrapped_into_a_pipe(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    new_console().print("word " * 100)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_help_of_eval_lists_every_family_of_policies():
    shown = CliRunner().invoke(main, ["eval", "--help"]).output
    policies = shown.partition("Policies:")[2]
    for syntax, _ in describe_families():
        assert syntax in policies


def solved(spec, question, **console):
    """The trace of a solution and its steps on a console, without the lines about their costs."""
    router = Router.of(shipped_models(exact=True, slots=1), policy=spec)
    shown = Console(width=200, file=io.StringIO(), highlight=False, **console)
    return show_events(shown, router.events(question), None), shown.file.getvalue()


STYLED = {"force_terminal": True, "color_system": "standard"}
COLOURS = {Author.WEAK: "\x1b[36m", Author.STRONG: "\x1b[35m"}
STRUCK = re.compile(r"\x1b\[2;9;36m[^\x1b]*\x1b\[0m")


def coloured(span):
    lines = span.text.split("\n")
    return "\n".join(f"{COLOURS[span.author]}{line}\x1b[0m" if line else "" for line in lines)


@pytest.mark.parametrize("spec", ["token:0.9", "clause:0.9", "tail:0.9", "thr:0.99+tail:0.9"])
def test_the_spans_of_a_step_have_the_colours_of_their_authors(spec):
    trace, plain = solved(spec, PROBLEM.question)
    _, styled = solved(spec, PROBLEM.question, **STYLED)
    assert STRUCK.search(styled) and "\x1b" not in plain
    kept = STRUCK.sub("", styled)
    steps = [step for step in trace.steps if step.spans]
    assert steps
    for step in steps:
        by_strong = step.tokens_by(Author.STRONG)
        assert f"     strong: {by_strong} of {step.tokens} tokens" in plain
        assert bare(step.text) in plain
        assert "".join(map(coloured, step.spans)).rstrip() in kept
    last = next(line for line in plain.splitlines() if line.startswith("Answer"))
    assert f"{trace.strong_tokens} strong tokens in {trace.usage['strong'].requests} calls" in last
    assert f"{trace.interventions} rewrites" in last


def test_spans_are_shown_as_they_are_written():
    """Each is on the terminal before the next one is asked for."""
    router = Router.of(shipped_models(exact=True, slots=1), policy="token:0.9")
    console = Console(width=200, file=io.StringIO(), highlight=False, **STYLED)
    written = 0

    def watched():
        nonlocal written
        for event in router.events(PROBLEM.question):
            yield event
            if isinstance(event, SpanWritten):
                assert bare(event.text).splitlines()[-1] in console.file.getvalue()
                written += 1

    show_events(console, watched(), None)
    assert written > 5


def test_solve_json_has_the_spans_of_its_steps():
    words = ("solve", PROBLEM.question, "--policy", "token:0.9", "--json")
    trace = json.loads(completed(*words).stdout)
    mixed = [step for step in trace["steps"] if "spans" in step]
    assert mixed
    for step in mixed:
        assert "".join(span["text"] for span in step["spans"]) == step["text"]
        assert {span["author"] for span in step["spans"]} == {"weak", "strong"}
    assert trace["usage"]["strong"]["requests"] > 0
