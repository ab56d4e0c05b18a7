"""SIGTERM ends long commands as Ctrl-C does, also where a script began them in the background."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial

import pytest
from preloaded import PATIENCE, die_after, finished, started
from staged_server import SILENCE, staged
from test_kills import (
    EVALUATE,
    PROBLEMS,
    SHIPPED,
    complete,
    is_trial,
    label,
    question_of,
    traces_of,
    until,
    work,
)

from trim.cli.signals import terminable
from trim.errors import ModelUnavailable
from trim.rollouts.bank import read_bank

assert work  # A fixture.

TRIM = (sys.executable, "-c", "from trim.cli.main import main; main()")
SCRIPT = '"$@" & echo $!; wait $!; echo $?'
"""Begins a command in the background, as a script does, and tells its process and its code."""


class Held:
    """Answers so many requests about problems, and then none."""

    def __init__(self, answers):
        self.answers = answers
        self.held = 0

    def __call__(self, request):
        if is_trial(request):
            return label(request)
        if not self.answers:
            self.held += 1
            return SILENCE
        self.answers -= 1
        return label(request)


@asynccontextmanager
async def in_background(*words):
    """A command's process id, and what waits for its code and what it wrote to the errors."""
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", SCRIPT, "sh", *TRIM, *map(str, words),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pid = int(await shell.stdout.readline())

    async def ended():
        output, errors = await asyncio.wait_for(shell.communicate(), PATIENCE)
        return int(output.split()[-1]), errors.decode()

    try:
        yield pid, ended
    finally:
        if shell.returncode is None:
            os.kill(pid, signal.SIGKILL)
            await shell.communicate()


def kept(folder):
    """Questions of the problems that are on disk."""
    if (folder / "traces.jsonl").exists():
        return complete(folder)
    return {problem.question for problem in read_bank(folder).problems}


@pytest.mark.parametrize("command", ["eval", "collect"])
async def test_sigterm_ends_what_a_script_began_in_the_background(work, tmp_path, command):
    """What was finished is kept, and SIGINT stays ignored."""
    options = EVALUATE if command == "eval" else ("--rollouts", 2)
    folder = tmp_path / "out"
    says = Held(100)
    async with staged(says) as server:
        words = (command, *work(server), *options, "--out", folder)
        async with in_background(*words) as (pid, ended):
            await until(lambda: says.held >= 4)
            os.kill(pid, signal.SIGINT)
            await asyncio.sleep(0.2)
            os.kill(pid, 0)
            os.kill(pid, signal.SIGTERM)
            code, errors = await ended()
        assert code == 143, errors
        line = f"trim: interrupted; the same command continues from {folder}"
        assert errors.splitlines()[-1] == line
        assert all(each.startswith(("solving", "recording")) for each in errors.splitlines()[:-1])
        bill = json.loads((folder / "bill.json").read_text())
        assert sum(used["prompt_tokens"] for used in bill.values()) > 0
        says.answers = 10**6
        done, asked = kept(folder), len(server.requests)
        code, _, errors = await finished(*words)
        assert code == 0, errors
        chats = [r for r in server.requests[asked:] if "messages" in r.body]
        assert done and not done & {question_of(request) for request in chats}
    assert len(kept(folder)) == PROBLEMS


def ignoring(stage):
    """As a script leaves SIGINT to what it begins in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if stage:
        stage()


@pytest.mark.parametrize("name", SHIPPED)
async def test_sigterm_ends_what_shipped_models_solve(tmp_path, name):
    words = (*SHIPPED[name], "-n", 8, "--out", tmp_path)
    stage = partial(ignoring, partial(die_after, 1, signal.SIGTERM))
    code, _, errors = await finished(*words, stage=stage)
    assert code == 143, errors
    assert errors.endswith(f"interrupted; the same command continues from {tmp_path}\n")
    run = tmp_path / "trial" if name == "ablate" else tmp_path
    policies = json.loads((run / "run.json").read_text())["policies"]
    assert len(traces_of(run)) >= len(policies)


@pytest.mark.parametrize("words", [("solve", "problem 1"), ("check",)])
async def test_sigterm_ends_a_command_without_a_bar(work, words):
    async with staged(lambda request: SILENCE) as server:
        with started(*words, work(server)[1], stage=partial(ignoring, None)) as command:
            await until(lambda: server.requests or command.code is not None)
            command.send(signal.SIGTERM)
            assert await command.ended() == (143, "", "trim: interrupted\n")


@pytest.fixture
def sigint_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_an_event_loop_sigterm_is_an_interrupt(sigint_ignored):
    with pytest.raises(KeyboardInterrupt), terminable() as terminated:
        signal.raise_signal(signal.SIGTERM)
    assert terminated == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_sigterm_ends_what_does_not_end_by_the_first(sigint_ignored):
    async def stubborn():
        for _ in range(2):
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                signal.raise_signal(signal.SIGTERM)
        raise ModelUnavailable("it went on")

    async def work():
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        await stubborn()

    with pytest.raises(KeyboardInterrupt), terminable():
        asyncio.run(work())
