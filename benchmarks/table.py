"""Print the Markdown table of docs/results/suites.md from the summaries of `make figures`."""

from __future__ import annotations

import json
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


def main() -> None:
    summaries = [json.loads((FOLDER / suite / "summary.json").read_text()) for suite in SUITES]
    rows = [list(HEADINGS), ["---"] * len(HEADINGS), *map(row, summaries)]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in rows))


if __name__ == "__main__":
    main()
