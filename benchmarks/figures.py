"""Figures from the summaries of `trim eval`: `make figures`.

python benchmarks/figures.py table                           # docs/results/suites.md
python benchmarks/figures.py curve SUMMARY.json CURVE.json   # the curve that `trim serve` reads
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SUITES = ("chain", "chain-hard", "words", "program")
FOLDER = Path("build")
HEADINGS = (
    "suite",
    "weak",
    "strong",
    "`thr`: CPT 50 / 80 / 95 %",
    "Δ-IBC `thr`",
    "`takeover`",
    "`random`",
    "oracle per step: right, c",
)
CURVE_POLICIES = ("weak", "strong", "thr")
CURVE_FIELDS = ("policy", "setting", "accuracy", "strong_share", "money_mean")


def write_curve(summary: Path, curve: Path) -> None:
    """Write the points of weak, strong and thresholds of a summary."""
    record = json.loads(summary.read_text(encoding="utf-8"))
    points = [
        {name: point[name] for name in CURVE_FIELDS}
        for point in record["points"]
        if point["policy"] in CURVE_POLICIES
    ]
    kept = {**{name: record[name] for name in ("suite", "n", "seed")}, "points": points}
    curve.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def print_table() -> None:
    """Print the README's table from the summaries in `FOLDER`."""
    summaries = [json.loads((FOLDER / suite / "summary.json").read_text()) for suite in SUITES]
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *map(row, summaries)]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in rows))


def row(summary: dict[str, Any]) -> list[str]:
    alone = {point["policy"]: point for point in summary["points"] if point["setting"] is None}
    curves = summary["curves"]
    levels = curves["thr"]["cpt"].values()
    shares = " / ".join("–" if share is None else f"{100 * share:.0f}" for share in levels)
    oracle = alone["oracle"]
    return [
        f"`{summary['suite']}`",
        *(with_interval(alone[name]) for name in ("weak", "strong")),
        f"{shares} % of the tokens",
        *(f"{curves[family]['delta_ibc']:.2f}" for family in ("thr", "takeover", "random")),
        f"{100 * oracle['accuracy']:.1f} %, {100 * oracle['strong_share']:.0f} %",
    ]


def with_interval(point: dict[str, Any]) -> str:
    low, high = point["accuracy_ci"]
    return f"{100 * point['accuracy']:.1f} % ({100 * low:.0f}–{100 * high:.0f})"


def main(command: str, *paths: str) -> None:
    if command == "curve":
        write_curve(*map(Path, paths))
    else:
        print_table()


if __name__ == "__main__":
    main(*sys.argv[1:])
