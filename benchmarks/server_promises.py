"""What the server promises under faults, kills and malformed requests, as its tests find it.

    python benchmarks/server_promises.py

Runs the tests that stage it, and prints what each of them has counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

PROMISES = {
    "faults in 20 % of the engine calls": (
        "every request ends once: an answer, or an error that says why",
        ("test_server_faults",),
    ),
    "`kill -9` at random moments under load": (
        "what is on disk is what clients received, but for requests in flight",
        ("test_server_kills",),
    ),
    "fuzzed from its OpenAPI description, malformed bodies and heads, slow clients": (
        "no 500, no hang, no leak",
        ("test_server_fuzz", "test_server_slow_clients", "test_server_cycles"),
    ),
    "the official client, and LangChain on it": (
        "unchanged but for the base URL",
        ("test_server_clients",),
    ),
}
"""What, by its goal and the files of its tests."""
NUMBERS = {"TRIM_KILLS": "20", "TRIM_REQUESTS": "2000", "TRIM_EXAMPLES": "200"}
"""More of each than in the tests."""


def cases(modules: tuple[str, ...], report: Path) -> list[ElementTree.Element]:
    """What became of the tests in some files."""
    tests = Path(__file__).parent.parent / "tests"
    files = [str(tests / f"{module}.py") for module in modules]
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *files]
    told = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **NUMBERS},
    )
    if told.returncode not in (0, 1):  # 1: some test has failed, which is a figure too.
        raise SystemExit(told.stdout)
    return list(ElementTree.parse(report).getroot().iter("testcase"))


def outcome(case: ElementTree.Element) -> str:
    ends = ("failure", "error", "skipped")
    return next((end for end in ends if case.find(end) is not None), "passed")


def counted(case: ElementTree.Element) -> list[str]:
    """What a test has found (`record_property`)."""
    found = case.iterfind("properties/property[@name='counted']")
    return [one.get("value", "") for one in found]


def main() -> None:
    print("| what | measured | tests | goal |\n|---|---|---|---|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for what, (goal, modules) in PROMISES.items():
            ran = cases(modules, Path(name) / "report.xml")
            ends = Counter(map(outcome, ran))
            failed = failed or ends["failure"] + ends["error"] > 0
            figures = "; ".join(figure for case in ran for figure in counted(case))
            told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
            print(f"| {what} | {figures} | {told} | {goal} |", flush=True)
    if failed:
        raise SystemExit("some tests have failed; `make test` tells of them")


if __name__ == "__main__":
    main()
