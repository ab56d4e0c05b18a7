"""README and documentation hold: marked blocks run as they stand, commands and paths exist.

A block behind `<!-- runs -->` runs with the shipped models; one behind
`<!-- runs with endpoints -->` against two servers on loopback, whose addresses take the places of
those on the page. The blocks of a page run in order, in one folder.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from llama_server import PLAIN_CHAT, start

from trim.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>runs[a-z ]*) -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)```", re.S
)
FEW = {"collect": 30}
FEWEST = 3
"""Problems that a marked command takes at most here: a calibration needs 30 of them."""


@dataclass(frozen=True)
class Block:
    mark: str | None
    language: str
    text: str


def blocks(page):
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["mark"], match["language"], match["text"]) for match in found]


def named(page):
    return str(page.relative_to(ROOT))


RUNNING = [page for page in PAGES if any(block.mark for block in blocks(page))]


RECORDING = {"learned-router.md", "budget.md"}
"""Pages that record a bank, which takes longest."""


@pytest.fixture(scope="module")
def endpoints():
    servers = {
        8000 + number: start(name, slots=2, template=PLAIN_CHAT)
        for number, name in enumerate(("weak", "strong"))
    }
    yield {f"http://localhost:{port}/v1": f"{server.url}/v1" for port, server in servers.items()}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=named(page), marks=[pytest.mark.soak] * (page.name in RECORDING))
        for page in RUNNING
    ],
)
def test_marked_blocks_run(page, tmp_path, monkeypatch, request):
    for name in ("configurations", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        text = block.text
        if block.mark == "runs with endpoints":
            for written, address in request.getfixturevalue("endpoints").items():
                text = text.replace(written, address)
        if block.mark and block.language == "python":
            exec(compile(text, named(page), "exec"), names)
        elif block.mark:
            run_commands(text, tmp_path / "bin")


PROGRAM = f"""#!{sys.executable}
import trim.checks.exercises as exercises
from trim.cli.main import main

exercises.KINDS = (exercises.PUZZLES,)
main()
"""
"""`trim` with the only exercises that the shipped models solve: in the others they write on for
minutes, for each `trim init` and `trim check`."""


def run_commands(text, programs):
    programs.mkdir(exist_ok=True)
    (programs / "trim").write_text(PROGRAM)
    (programs / "trim").chmod(0o755)
    few = re.sub(
        r"^(trim (\w+)[^\n]* -n )\d+",
        lambda match: f"{match[1]}{FEW.get(match[2], FEWEST)}",
        text,
        flags=re.M,
    )
    path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euc", few],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, named(page), "exec")


def commands(page):
    """The `trim` commands of a page, as words."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                words = re.sub(r"\s#.*", "", line).split()
                if words[:1] == ["trim"]:
                    yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_and_options_exist(page):
    for words in commands(page):
        command, context = main, click.Context(main)
        for word in words:
            if isinstance(command, click.Group) and not word.startswith("-"):
                command = command.get_command(context, word)
                assert command, f"trim {' '.join(words)}: there is no {word}"
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        used = {word.partition("=")[0] for word in words if word.startswith("-")} - {"--help"}
        assert used <= known, f"trim {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_pages_named_in_the_sources_exist():
    folders = ("src", "tests", "benchmarks", "training", "configurations", "examples")
    files = [path for name in folders for path in (ROOT / name).rglob("*")]
    for path in (*files, ROOT / "Makefile"):
        if path.suffix in (".py", ".sh", ".yaml", ".jinja", "") and path.is_file():
            for page in re.findall(
                r"(?<![\w/])docs/[\w./-]+\.(?:md|json|yaml|svg|png)", path.read_text("utf-8")
            ):
                assert (ROOT / page).exists(), f"{path.relative_to(ROOT)}: {page}"
