"""The commands, as a person types them, in processes of their own."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from preloaded import completed

from trim.cli.main import main
from trim.evaluation.suites import CHAIN, generate

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
        "eval", "chain", "-n", "12", "--policy", "weak", "--policy", "strong", "--policy", "oracle",
        "--policy", "oracle-query", "--policy", "takeover:0.5", "--policy", "thr:0.1,0.5",
        "--policy", "random:0.3", "--seed", "2", "--out", str(out),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    summary = json.loads((out / "summary.json").read_text())
    jsonschema.validate(summary, json.loads(SCHEMA.read_text()))
    assert len((out / "traces.jsonl").read_text().splitlines()) == 12 * 8
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
