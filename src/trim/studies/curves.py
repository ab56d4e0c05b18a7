"""Tables and figures of a trial's curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from trim.evaluation.evaluation_page import costs_table as costs_of_curves
from trim.evaluation.plot import COLOURS, GREY, MARKERS, new_figure
from trim.evaluation.report import Table, difference, number, percent
from trim.metrics.curve import GAINS, best_by_cost
from trim.studies.trial import ALONE, RIVAL, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (*(f"CPT {gain} %" for gain in GAINS), "Δ-IBC", "APGR")
COMPARED = {"Δ-IBC": "delta_ibc", "APGR": "apgr"}
"""Metrics that routers are compared by: label, and name in `Figures`."""

Point = tuple[float, float]


def budget_percent(share: float) -> str:
    """0.1 is `10.0 %`; a smaller budget has as many decimals as tell it apart, as in `0.04 %`."""
    exact, decimals = 100 * share, 1
    while decimals < 8 and not math.isclose(round(exact, decimals), exact, rel_tol=1e-3):
        decimals += 1
    return percent(share, decimals)


def metric_cells(curve: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of `COLUMNS` for a curve of a summary."""
    return (
        *(percent(curve["cpt"][str(gain)]) for gain in GAINS),
        number(curve["delta_ibc"]),
        number(curve["apgr"], 3),
    )


def curves_table(found: Iterable[tuple[str, Results]], heading: str = "policy") -> Table:
    """The metrics of every family's curve.

    Args:
        found: results, each with a prefix for the names of its families.
        heading: of the first column.
    """
    rows = (
        (before + family, *metric_cells(curve))
        for before, results in found
        for family, curve in results.summary["curves"].items()
    )
    return Table("Strong share that closes part of the gap", (heading, *COLUMNS), tuple(rows))


def differences_table(found: Iterable[tuple[str, Results]], heading: str) -> Table:
    """Differences of every other family to `RIVAL`; arguments as of `curves_table`."""
    rows = (
        (
            before + family,
            difference(results.less("delta_ibc", family, RIVAL)),
            difference(results.less("apgr", family, RIVAL), 3),
        )
        for before, results in found
        for family in results.figures
        if family != RIVAL
    )
    return Table(f"Less {RIVAL}", (heading, *COMPARED), tuple(rows))


def costs_table(found: Iterable[tuple[str, Results]], heading: str = "policy") -> Table:
    """CPT and Delta-IBC on every axis of cost; arguments as of `curves_table`."""
    return costs_of_curves(
        ((before, results.summary["curves"]) for before, results in found), heading
    )


def budgets_table(
    found: Iterable[tuple[str, Results]], budgets: Sequence[float], heading: str = "policy"
) -> Table:
    """Accuracy of every family at budgets, and the difference to `RIVAL` in points.

    Args:
        found, heading: as of `curves_table`.
        budgets: strong shares c.
    """

    def cells(results: Results, family: str) -> Iterator[str]:
        reached = results.figures[family].accuracy_at(budgets)
        less = 100 * (reached - results.figures[RIVAL].accuracy_at(budgets))
        for place in range(len(budgets)):
            cell = percent(float(reached[0, place]))
            yield cell if family == RIVAL else f"{cell}, {difference(less[:, place], 1)}"

    rows = tuple(
        (before + family, *cells(results, family))
        for before, results in found
        for family in results.figures
    )
    columns = (heading, *(f"c = {budget_percent(budget)}" for budget in budgets))
    about = f"Accuracy, and its difference to {RIVAL} in percentage points."
    return Table("Accuracy at a budget", columns, rows, about)


def points_of(results: Results) -> dict[str, list[Point]]:
    """Strong share and accuracy in percent, of each family's settings and each lone policy."""
    found: dict[str, list[Point]] = {}
    for point in results.summary["points"]:
        place = 100 * point["strong_share"], 100 * point["accuracy"]
        found.setdefault(point["policy"], []).append(place)
    return found


def draw_curves(results: Results, limit: float = 1.0) -> Figure:
    """Accuracy over the strong share up to `limit`, one line per family."""
    figure, axes = new_figure()
    points = points_of(results)
    ends = [points[name][0] for name in ALONE]
    for (_, accuracy), name in zip(ends, ALONE, strict=True):
        axes.axhline(accuracy, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f"{name} alone {accuracy:.1f} %",
            (0.99, accuracy),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=GREY,
            annotation_clip=True,
        )
    seen = [ends[0][1]]
    for family, colour, marker in zip(
        results.summary["curves"], cycle(COLOURS), cycle(MARKERS), strict=False
    ):
        costs, accuracies = np.array(best_by_cost([*points[family], *ends])).T
        axes.plot(costs, accuracies, color=colour, linewidth=1.6, alpha=0.8)
        axes.plot(
            *zip(*points[family], strict=True),
            marker,
            color=colour,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=family,
        )
        seen.append(float(np.interp(100 * limit, costs, accuracies)))
        seen += [accuracy for cost, accuracy in points[family] if cost <= 100 * limit]
    if limit < 1:
        show_up_to(axes, limit, seen)
    axes.set_title(results.title)
    axes.set_xlabel("strong tokens, % of strong alone")
    axes.set_ylabel("accuracy, %")
    if results.summary["curves"]:
        figure.legend(loc="outside lower center", ncols=6, frameon=False)
    return figure


def show_up_to(axes: Any, limit: float, accuracies: Sequence[float]) -> None:
    room = 0.06 * max(max(accuracies) - min(accuracies), 1)
    axes.set_xlim(0, 100 * limit)
    axes.set_ylim(min(accuracies) - room, max(accuracies) + room)
