"""The README's Python runs as it stands there, and its commands exist."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from trim.cli.main import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^trim (\w+)", README, re.MULTILINE)


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.strip().splitlines()[0])
def test_python_of_the_readme_runs(block):
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


def test_every_command_of_the_readme_exists():
    assert COMMANDS
    for command in set(COMMANDS):
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0
