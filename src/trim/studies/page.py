"""What a study found, as one HTML page that needs nothing else and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from trim.errors import InvalidInput
from trim.evaluation.comparison import interval_of
from trim.evaluation.plot import rendered
from trim.evaluation.report import page_environment
from trim.files import write_atomically
from trim.metrics.metrics import Array


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


NOTHING = "–"


def percent(value: float | None) -> str:
    """0.123 is `12.3 %`."""
    return number(value if value is None else 100 * value, 1, " %")


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:.{decimals}f}{unit}".replace("-", "−")


def difference(values: Array, decimals: int = 2, scale: float = 1) -> str:
    """A difference with its interval: `+1.2 (−0.3 to 2.7)`.

    Args:
        values: in the sample and in each resample, as in `trim.evaluation.comparison`.
        scale: multiplies them; 100 is for percentage points.
    """
    value = scale * float(values[0])
    if math.isnan(value):
        return NOTHING
    shown = ("+" if round(value, decimals) > 0 else "") + number(value, decimals)
    interval = interval_of(values)
    if interval is None:
        return shown
    low, high = (number(scale * bound, decimals) for bound in interval)
    return f"{shown} ({low} to {high})"


def standing(values: Array) -> str:
    """Where a difference a - b leaves a: `ahead` or `behind` where its interval says so."""
    interval = interval_of(values)
    if interval is None:
        return "not defined"
    low, high = interval
    return "ahead" if low > 0 else "behind" if high < 0 else "level"


NAME = "report.html"


@dataclass(frozen=True)
class Table:
    """Rows of cells that are text already; the first cell of a row names it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: a row has not {len(self.columns)} cells")


@dataclass(frozen=True)
class Page:
    """What a study found.

    Attributes:
        verdict: the answer in a line; None where the study gives none.
        notes: sentences that tell how it was measured and what holds it up.
    """

    title: str
    verdict: str | None
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]


def write_page(page: Page, folder: Path) -> Path:
    """Write `report.html` into `folder`, which is made if need be; returns its path.

    The page has no outside resource. All text is escaped, but for the pictures.

    Raises:
        InvalidInput: the folder or the file cannot be written.
    """
    environment = page_environment(Path(__file__).parent)
    html = environment.get_template("page.html.jinja").render(page=page)
    with folder_for(folder):
        # A name may hold half a character, which UTF-8 cannot.
        write_atomically(folder / NAME, html.encode("utf-8", errors="replace"))
    return folder / NAME


@contextmanager
def folder_for(folder: Path) -> Iterator[Path]:
    """The folder of a study's results, made if need be.

    Raises:
        InvalidInput: it cannot be made, or what is written inside cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise InvalidInput(
            f"{folder}: results cannot be written there ({error.strerror}); choose another --out"
        ) from error


def print_page(console: Console, page: Page) -> None:
    """Print title, verdict, notes and tables; pictures are for the page alone."""
    console.print(Text(page.title, "bold"))
    if page.verdict is not None:
        console.print(Text(page.verdict, "bold yellow"))
    for note in page.notes:
        console.print(Text(note))
    for table in page.tables:
        console.print(terminal_table(table))


def terminal_table(table: Table) -> TerminalTable:
    shown = TerminalTable(title=Text(table.title), box=SIMPLE_HEAD, padding=(0, 1))
    for position, heading in enumerate(table.columns):
        shown.add_column(Text(heading), justify="right" if position else "left")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown
