"""Drawings as the page and the folder of a study hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trim.evaluation.plot import rendered
from trim.files import write_atomically


@dataclass(frozen=True)
class Picture:
    """A drawing of our own.

    Attributes:
        title: what it shows, also for those who cannot see it.
        svg: text of an SVG file. It goes into the page as it is.
    """

    title: str
    svg: str


def new_figure(width: float = 8, height: float = 5.2) -> tuple[Figure, Axes]:
    """An empty drawing in the style of the project's plots; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def picture_of(title: str, figure: Figure) -> Picture:
    """The figure as it stands in a page. Equal figures give equal texts."""
    return Picture(title, rendered(figure, "svg").decode("utf-8"))


def write_figure(figure: Figure, paths: Sequence[Path]) -> None:
    """Write the figure into each of `paths`, `.png` or `.svg`; OSError as `open` raises it.

    A file is replaced only once it is complete.
    """
    for path in paths:
        write_atomically(path, rendered(figure, path.suffix.removeprefix(".")))
