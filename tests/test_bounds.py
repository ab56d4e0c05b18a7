"""The table of bounds names modules and constants that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "trim"
ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs" / "reference" / "bounds.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| what |")
]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_bound_is_where_the_table_says(row):
    what, _, _, where = row
    files = re.findall(r"`([a-z_/]+\.(?:py|js))`", where)
    assert files or where == "aiohttp", what
    content = "".join((PACKAGE / name).read_text() for name in files)
    for name in re.findall(r"`([A-Z][A-Z_]{3,})`", " ".join(row)):
        assert name in ("NULL", "TRIM_") or re.search(rf"\b{name}\b", content), (what, name)
    for name in re.findall(r"`([A-Za-z_]+)`", where):
        assert re.search(rf"\b{name}\b", content), (what, name)
