"""Rewriting below the step, measured: `make below-the-step`.

python benchmarks/below_the_step.py table               # docs/results/below-the-step.md
python benchmarks/below_the_step.py overview            # README.md
python benchmarks/below_the_step.py picture docs/below-the-step.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trim.evaluation.plot import COLOURS, new_figure, write_figure
from trim.policies.policy import policy_name

SUITES = ("chain", "chain-hard", "words", "program")
FOLDER = Path("build/below-the-step")
Point = Mapping[str, Any]
# What a policy reads, and money, only for one that ran by itself.
COLUMNS = ("policy", "right", "c", "strong calls", "read", "cached", "money")
METRICS = ("suite", "policy", "CPT 50 / 80 / 95 %", "Δ-IBC (95 %)")
CURVES = {"thr": "whole steps, thr", "agg": "whole steps, agg", "token": "single tokens"}
LIMITS = {"oracle": "step oracle", "oracle-token": "token oracle"}
LEAST = 0.002
"""The smallest share of strong tokens on the axis."""


def read_summary(suite: str) -> dict[str, Any]:
    """The summary of a suite, with `agg` where it was run by itself."""
    summary: dict[str, Any] = json.loads((FOLDER / suite / "summary.json").read_text())
    learned = FOLDER / f"{suite}-agg" / "summary.json"
    if learned.exists():
        other = json.loads(learned.read_text())
        summary["points"] += [point for point in other["points"] if point["policy"] == "agg"]
        summary["curves"] |= {"agg": other["curves"]["agg"]}
    return summary


def name_of(point: Point) -> str:
    setting = point["setting"]
    return point["policy"] if setting is None else policy_name(point["policy"], setting)


def read_summaries() -> list[dict[str, Any]]:
    """The summaries of the suites that are finished."""
    done = [suite for suite in SUITES if (FOLDER / suite / "summary.json").exists()]
    return [read_summary(suite) for suite in done]


def alone(summary: Mapping[str, Any], policy: str) -> Point:
    return next(point for point in summary["points"] if name_of(point) == policy)


def print_tables() -> None:
    """Print the tables of the results page from the summaries in `FOLDER`."""
    summaries = read_summaries()
    rows = [row for summary in summaries for row in curve_rows(summary)]
    print_table(METRICS, rows)
    for summary in summaries:
        print(f"\n{summary['suite']}, {summary['n']} problems\n")
        print_table(COLUMNS[:4], [point_row(point)[:4] for point in summary["points"]])
    print("\nchain, each policy by itself\n")
    alone_points = [
        point
        for path in sorted(FOLDER.glob("alone/*/summary.json"))
        for point in json.loads(path.read_text())["points"]
    ]
    print_table(COLUMNS, [point_row(point) for point in alone_points])


def print_overview() -> None:
    """Print the README's table."""
    headings = (
        *("suite", "weak", "strong", "whole steps (`thr`): CPT 95 %, Δ-IBC"),
        *("single tokens (`token`): CPT 95 %, Δ-IBC", "step oracle", "token oracle"),
    )
    print_table(headings, list(map(overview_row, read_summaries())))


def overview_row(summary: Mapping[str, Any]) -> list[str]:
    curves = [summary["curves"][family] for family in ("thr", "token")]
    return [
        f"`{summary['suite']}`",
        *(f"{100 * alone(summary, name)['accuracy']:.1f} %" for name in ("weak", "strong")),
        *(f"{100 * curve['cpt']['95']:.1f} %, {curve['delta_ibc']:.1f}" for curve in curves),
        *(f"{100 * alone(summary, name)['strong_share']:.1f} %" for name in LIMITS),
    ]


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for cells in (headings, ["---"] * len(headings), *rows):
        print(f"| {' | '.join(cells)} |")


def with_range(value: float, low: float, high: float) -> str:
    """A table cell: the value, and its interval or range."""
    return f"{value:.2f} ({low:.2f}–{high:.2f})"


def curve_rows(summary: Mapping[str, Any]) -> Iterator[list[str]]:
    for family, curve in summary["curves"].items():
        levels = curve["cpt"].values()
        shares = " / ".join("–" if each is None else f"{100 * each:.1f}" for each in levels)
        gain = with_range(curve["delta_ibc"], *curve["intervals"]["delta_ibc"])
        yield [f"`{summary['suite']}`", f"`{family}`", shares, gain]


def point_row(point: Point) -> list[str]:
    low, high = point["accuracy_ci"]
    read = point["prompt_tokens_mean"].get("strong", {"uncached": 0.0, "cached": 0.0})
    calls, money = point.get("strong_calls_mean"), point.get("money_mean")
    return [
        f"`{name_of(point)}`",
        f"{100 * point['accuracy']:.1f} % ({100 * low:.0f}–{100 * high:.0f})",
        "–" if point["strong_share"] is None else f"{point['strong_share']:.3f}",
        "–" if calls is None else f"{calls:.1f}",
        f"{read['uncached']:.0f}",
        f"{read['cached']:.0f}",
        "–" if money is None else f"{1e6 * money:.0f}",
    ]


def draw(path: Path) -> None:
    """Draw accuracy over the share of strong tokens on `chain`, on a logarithmic axis."""
    summary = read_summary("chain")
    figure, axes = new_figure(8, 4.4)
    for name, style in (("strong", "--"), ("weak", ":")):
        accuracy = 100 * alone(summary, name)["accuracy"]
        axes.axhline(accuracy, color="#5A5A5A", linewidth=1, linestyle=style)
        axes.annotate(f"{name} model alone", (LEAST * 1.05, accuracy + 0.8), color="#5A5A5A")
    for colour, (family, label) in zip(COLOURS, CURVES.items(), strict=False):
        points = [
            (point["strong_share"], 100 * point["accuracy"])
            for point in summary["points"]
            if point["policy"] == family and point["strong_share"] >= LEAST
        ]
        if points:
            axes.plot(*zip(*sorted(points), strict=True), "o-", color=colour, label=label)
    for marker, (name, label) in zip("*P", LIMITS.items(), strict=True):
        point = alone(summary, name)
        place = point["strong_share"], 100 * point["accuracy"]
        axes.plot(*place, marker, color="#000000", markersize=10, linestyle="", label=label)
    axes.set_xscale("log")
    axes.set_xlim(LEAST, 1)
    ticks = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    axes.set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.set_xlabel("share of the strong model's tokens")
    axes.set_ylabel("right answers, %")
    axes.legend(loc="lower right", frameon=False)
    write_figure(figure, [path])


if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        print_tables()
    elif sys.argv[1:] == ["overview"]:
        print_overview()
    else:
        draw(Path(sys.argv[2]))
