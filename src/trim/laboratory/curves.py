"""The curves of a trial as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from trim.evaluation.curve import GAINS, Curve, best_by_cost
from trim.evaluation.outcomes import Outcomes
from trim.evaluation.plot import COLOURS, GREY, MARKERS
from trim.laboratory.cells import number, percent
from trim.laboratory.page import Table, folder_for
from trim.laboratory.picture import Picture, new_figure, picture_of, write_figure

COLUMNS = (*(f"CPT {gain} %" for gain in GAINS), "Δ-IBC", "APGR")


def metrics(curve: Curve) -> list[float | None]:
    """The figures of `COLUMNS`."""
    return [*(curve.cpt(gain / 100) for gain in GAINS), curve.delta_ibc(), curve.apgr()]


def metric_cells(curve: Curve) -> tuple[str, ...]:
    *shares, delta_ibc, apgr = metrics(curve)
    return (*map(percent, shares), number(delta_ibc), number(apgr, 3))


def curves_table(title: str, curves: Mapping[str, Curve]) -> Table:
    rows = ((family, *metric_cells(curve)) for family, curve in curves.items())
    return Table(title, ("policy", *COLUMNS), tuple(rows))


def alone_note(outcomes: Outcomes) -> str:
    """What the two models do alone."""
    accuracy = outcomes.accuracies()
    weak, strong = accuracy[outcomes.row("weak")], accuracy[outcomes.row("strong")]
    note = (
        f"Alone right: weak {percent(weak)}, strong {percent(strong)} of"
        f" {outcomes.right.shape[1]} problems."
    )
    return (
        note if strong > weak else f"{note} The strong model is not better: no figure is defined."
    )


def draw_curves(outcomes: Outcomes, title: str, limit: float = 1.0) -> Figure:
    """Accuracy over the share c of strong tokens, up to c = `limit`, a family a line."""
    figure, axes = new_figure()
    accuracies = 100 * outcomes.accuracies()
    shares = 100 * outcomes.shares()
    ends = [
        (float(shares[row]), float(accuracies[row]))
        for row in (outcomes.row("weak"), outcomes.row("strong"))
    ]
    for (_, accuracy), name in zip(ends, ("weak", "strong"), strict=True):
        axes.axhline(accuracy, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f"{name} alone {accuracy:.1f} %",
            (0.99, accuracy),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=GREY,
        )
    highest = ends[0][1]
    for (family, rows), colour, marker in zip(
        outcomes.families.items(), cycle(COLOURS), cycle(MARKERS), strict=False
    ):
        points = list(zip(shares[rows].tolist(), accuracies[rows].tolist(), strict=True))
        costs, reached = np.array(best_by_cost([*points, *ends])).T
        axes.plot(costs, reached, color=colour, linewidth=1.6, alpha=0.8)
        axes.plot(
            *zip(*points, strict=True),
            marker,
            color=colour,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=family,
        )
        highest = max(highest, float(np.interp(100 * limit, costs, reached)))
    if limit < 1:
        lowest = float(accuracies.min())
        room = 0.06 * max(highest - lowest, 1)
        axes.set_xlim(0, 100 * limit)
        axes.set_ylim(lowest - room, highest + room)
    axes.set_title(title)
    axes.set_xlabel("strong tokens, % of strong alone")
    axes.set_ylabel("accuracy, %")
    figure.legend(loc="outside lower center", ncols=6, frameon=False)
    return figure


def save_picture(figure: Figure, title: str, folder: Path, name: str) -> Picture:
    """Write NAME.svg and NAME.png into `folder`; returns what a page shows.

    Raises:
        InvalidInput: they cannot be written.
    """
    with folder_for(folder):
        write_figure(figure, [folder / f"{name}.{kind}" for kind in ("svg", "png")])
    return picture_of(title, figure)
