"""The curves of a trial as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from trim.evaluation.plot import COLOURS, GREY, MARKERS, new_figure
from trim.evaluation.report import Table, difference, number, percent
from trim.metrics.curve import GAINS, best_by_cost
from trim.studies.trial import ALONE, RIVAL, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (*(f"CPT {gain} %" for gain in GAINS), "Δ-IBC", "APGR")
COMPARED = {"Δ-IBC": "delta_ibc", "APGR": "apgr"}
"""Figures that routers are compared in, as they are shown and as `Figures` calls them."""

Point = tuple[float, float]


def metric_cells(curve: Mapping[str, Any]) -> tuple[str, ...]:
    """The figures of `COLUMNS`, from a curve of a summary."""
    return (
        *(percent(curve["cpt"][str(gain)]) for gain in GAINS),
        number(curve["delta_ibc"]),
        number(curve["apgr"], 3),
    )


def curves_table(found: Iterable[tuple[str, Results]], heading: str = "policy") -> Table:
    """The figures of every family's curve.

    Args:
        found: results, each with what comes before its families in the first column.
        heading: of that column.
    """
    rows = (
        (before + family, *metric_cells(curve))
        for before, results in found
        for family, curve in results.summary["curves"].items()
    )
    return Table("Share c at which part of the gap is closed", (heading, *COLUMNS), tuple(rows))


def differences_table(found: Iterable[tuple[str, Results]], heading: str) -> Table:
    """What every other family has more than `RIVAL`. Arguments as of `curves_table`."""
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


def points_of(results: Results) -> dict[str, list[Point]]:
    """Share c and accuracy in percent, of each setting of a family and of each lone policy."""
    found: dict[str, list[Point]] = {}
    for point in results.summary["points"]:
        place = 100 * point["strong_share"], 100 * point["accuracy"]
        found.setdefault(point["policy"], []).append(place)
    return found


def draw_curves(results: Results, limit: float = 1.0) -> Figure:
    """Accuracy over the share c of strong tokens, up to c = `limit`, a family a line."""
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
