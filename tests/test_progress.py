"""What a long command shows while its problems are under way."""

import json
import re
from pathlib import Path

import pytest
from preloaded import started
from staged_server import SILENCE, staged
from test_kills import is_trial, label, until, work

from trim.cli import progress
from trim.cli.progress import ProgressText, format_count, progress_bar
from trim.cluster.worker import Task, Worker, problem_to_json
from trim.costs import Prices
from trim.evaluation import progress as run_progress
from trim.evaluation.bill import Bill
from trim.evaluation.progress import RunProgress
from trim.evaluation.suites import CHAIN, generate
from trim.shipped import FOLDER
from trim.types import Usage

assert work  # A fixture.

FIGURES = re.compile(r"(\d+)/(\d+)(?: ·)? (\d+) steps · (\d+) tokens")


def tell_often():
    progress.EVERY, run_progress.INTERVAL = 0.0, 0.01


def told(command):
    """Problems finished, problems, steps and tokens, as often as they were told."""
    return [tuple(map(int, found)) for found in FIGURES.findall(command.written[1])]


class Sparing:
    """Answers so many requests about problems; knows how many steps and tokens it has given."""

    def __init__(self, answers):
        self.answers = answers
        self.held = self.steps = self.tokens = 0

    def __call__(self, request):
        reply = label(request)
        if is_trial(request):
            return reply
        if not self.answers:
            self.held += 1
            return SILENCE
        self.answers -= 1
        if "messages" in request.body:
            self.steps += 1
            self.tokens += reply["usage"]["completion_tokens"]
        return reply


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("command", ["eval", "collect"])
async def test_steps_and_tokens_are_told_before_any_problem_is_finished(
    work, tmp_path, command, terminal, monkeypatch
):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    options = ("--policy", "strong") if command == "eval" else ("--rollouts", 2)
    server_says = Sparing(3)
    async with staged(server_says) as server:
        words = (command, *work(server), *options, "--set", "routing.concurrency=2", "--out")
        with started(*words, tmp_path / "out", stage=tell_often) as running:
            expected = None

            def is_told():
                nonlocal expected
                expected = (0, 40, server_says.steps, server_says.tokens)
                return server_says.held == 2 and expected in told(running)

            await until(lambda: running.code is not None or is_told())
            assert running.code is None, running.written
            assert expected[2] == 3
            assert told(running) == sorted(told(running))


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_is_told_again_while_nothing_is_finished(monkeypatch, capsys, terminal):
    """Without a terminal a line every 30 s, and the last one once."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("solving x", 2, Path("out")) as move:
        for second in range(100):
            now[0] = 1000.0 + second
            move(RunProgress(0, steps=second, tokens=100 * second))
        for _ in range(3):
            move(RunProgress(2, steps=100, tokens=123_456))
    lines = capsys.readouterr().err.splitlines()
    if terminal:
        assert "100 steps · 123.5k tokens" in " ".join(lines)
    else:
        assert lines == [
            "solving x: 0/2",
            "solving x: 0/2 · 30 steps · 3.0k tokens",
            "solving x: 0/2 · 60 steps · 6.0k tokens",
            "solving x: 0/2 · 90 steps · 9.0k tokens",
            "solving x: 2/2 · 100 steps · 123.5k tokens · 1.21 a minute",
        ]


def test_problems_under_way_count_as_half_finished(monkeypatch):
    """Of 100 that are solved at a time few have finished after half of the time."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    text = ProgressText("solving x", 300)
    text.line(RunProgress(100, under_way=100))
    now[0] += 600
    assert text.line(RunProgress(100, under_way=100)) == "solving x: 100/300"
    assert (
        text.line(RunProgress(110, under_way=100))
        == "solving x: 110/300 · 6 a minute · 23 min left"
    )
    now[0] += 1200
    assert (
        text.line(RunProgress(290, under_way=10)) == "solving x: 290/300 · 6.5 a minute · 46 s left"
    )
    assert text.line(RunProgress(300)) == "solving x: 300/300 · 6.67 a minute"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (5_150, "5.2k"), (2_000_000, "2.0M")]
)
def test_counts_are_short(count, text):
    assert format_count(count) == text


def test_a_line_without_figures_ends_after_the_count():
    assert ProgressText("solving x", 24).line(RunProgress(0)) == "solving x: 0/24"


async def test_a_worker_elsewhere_hands_over_what_it_has_written():
    """As on a cluster, with the shipped models: each step once, with the tokens of its bill."""
    task = Task(
        {"models": str(FOLDER), "protocol": "default"},
        "chain",
        0,
        "prm",
        ("strong", "weak"),
        exact=True,
    )
    worker = Worker(task.to_json())
    assert worker.ready() is None
    bill = Bill(Prices())
    steps = 0
    for problem in generate(CHAIN, 2, 0):
        answer = json.loads(await worker.solve(problem_to_json(problem)))
        bill.merge(answer["bill"])
        steps += sum(len(trace["steps"]) for trace in answer["traces"])
    assert bill.steps == steps > 0
    assert bill.tokens == sum((bill.usage[role] for role in ("weak", "strong")), Usage()).tokens
    worker.grading.close()
