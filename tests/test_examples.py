"""The examples run as they stand, without arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTED = {
    "two_endpoints": "strong tokens",
    "own_policy": "long:10: answer ",
    "own_scorer": "answer 22",
    "async_batch": "strong tokens  Start with 30.",
    "server_client": "The answer is \\boxed{22}.",
    "budget": "limit 0: answer 6, 0 strong tokens",
}


def test_each_example_is_known():
    scripts = {path.stem for path in EXAMPLES.glob("*.py")} - {"loopback"}
    assert scripts == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert PRINTED[name] in done.stdout
