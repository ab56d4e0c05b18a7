"""Servers that tests start end with the tests, whatever happens; by processes without vLLM."""

import os
import subprocess
import sys
import time

import pytest
import vllm_server
from vllm_server import running, wait_for

FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1] == "stubborn" else signal.SIG_DFL)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def family(log):
    """The ids of parent and child, as soon as they are told."""
    deadline = time.monotonic() + 20
    while not log.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in log.read_text().split()]


def alive(process):
    """A process that has ended but was not waited for counts as ended."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return bool(told.stdout.strip()) and not told.stdout.startswith("Z")


@pytest.mark.parametrize("kind", ["gentle", "stubborn"])
@pytest.mark.parametrize("fault", [None, AssertionError, KeyboardInterrupt])
def test_a_server_ends_with_all_that_it_started(tmp_path, monkeypatch, kind, fault):
    monkeypatch.setattr(vllm_server, "GRACE", 0.2)
    log = tmp_path / "log"
    try:
        with running([sys.executable, "-c", FAMILY, kind], log):
            started = family(log)
            assert all(map(alive, started))
            assert os.getpgid(started[0]) != os.getpgid(0)
            if fault:
                raise fault
    except (AssertionError, KeyboardInterrupt) as error:
        assert type(error) is fault
    deadline = time.monotonic() + 10
    while any(map(alive, started)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_does_not_start_shows_its_log(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with running(command, log) as process, pytest.raises(RuntimeError, match="no such model"):
        wait_for("http://127.0.0.1:1", process, log, time.monotonic() + 20)


def test_a_server_that_stays_mute_is_not_waited_for_forever(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with running(command, log) as process, pytest.raises(RuntimeError, match="did not start"):
        wait_for("http://127.0.0.1:1", process, log, time.monotonic() + 0.1)
