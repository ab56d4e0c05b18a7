"""The architecture page lists the layers of the import contract, in its order."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_lists_the_layers_of_the_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    layers = [layer.split(" | ") for layer in contract["layers"]]
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| layer | holds |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert [re.findall(r"`(\w+)`", row) for row in rows] == layers


def test_every_module_of_the_package_has_a_layer():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    known = {name for layer in contract["layers"] for name in layer.split(" | ")}
    package = ROOT / "src" / "trim"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert folders | modules == known
