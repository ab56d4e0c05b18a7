"""Reports of evaluations and studies, each one self-contained HTML page.

`Page` is the content: a verdict, notes, tables of text cells, pictures and traces. The same page is
printed on a terminal by `trim.cli.output`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from trim.errors import InvalidInput
from trim.evaluation.comparison import interval_of
from trim.evaluation.plot import rendered, write_figure
from trim.files import write_atomically
from trim.metrics.metrics import Array
from trim.policies.policy import policy_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE_NAME = "report.html"
NOTHING = "–"
"""The cell of an undefined value."""


@dataclass(frozen=True)
class Picture:
    """A drawing of trim's own.

    Attributes:
        title: caption and text alternative.
        svg: text of an SVG file; it is embedded without escaping.
    """

    title: str
    svg: str


def picture_of(title: str, figure: Figure) -> Picture:
    """The figure as a picture of a page; equal figures give equal pictures."""
    return Picture(title, rendered(figure, "svg").decode("utf-8"))


def save_picture(figure: Figure, title: str, folder: Path, name: str) -> Picture:
    """Write NAME.svg and NAME.png into `folder`; returns the picture for a page.

    Raises:
        InvalidInput: they cannot be written.
    """
    with results_folder(folder):
        write_figure(figure, [folder / f"{name}.{kind}" for kind in ("svg", "png")])
    return picture_of(title, figure)


@dataclass(frozen=True)
class Table:
    """Rows of text cells; the first cell of a row is its heading.

    Attributes:
        title: heading above the table; "" continues the section of the table before.
        columns: headings; without any, the section consists of its notes.
        about: how to read the table.
        notes: sentences below the table.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    about: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: every row needs {len(self.columns)} cells")


@dataclass(frozen=True)
class Page:
    """The content of a report.

    Attributes:
        verdict: the result in one line; None if there is none.
        notes: sentences about the measurement and its limits.
        problems: traces as in `traces.jsonl`, those of a problem together.
        facts: names and values that describe the measurement.
    """

    title: str
    verdict: str | None
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    problems: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def write_page(page: Page, folder: Path) -> Path:
    """Write `report.html` into `folder`, which is created if missing; returns its path.

    The page loads nothing from outside. All text is escaped except the pictures.

    Raises:
        InvalidInput: the folder or the file cannot be written.
    """
    html = _environment().get_template("report.html.jinja").render(page=page)
    with results_folder(folder):
        # Model text may contain half a surrogate pair, which UTF-8 cannot encode.
        write_atomically(folder / FILE_NAME, html.encode("utf-8", errors="replace"))
    return folder / FILE_NAME


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["inline"] = lambda svg: Markup(svg[svg.index("<svg") :])
    environment.filters.update(number=number, label=spaced_label, stacked=stacked)
    return environment


BRACKETED = re.compile(r"(.+) \((.+)\)")


def stacked(cell: str) -> Markup:
    """A cell with what it has in brackets in a line of its own, which keeps tables narrow."""
    found = BRACKETED.fullmatch(cell)
    if found is None:
        return escape(cell)
    return Markup("{} <small>{}</small>").format(*found.groups())


@contextmanager
def results_folder(folder: Path) -> Iterator[Path]:
    """A folder for results, created if missing.

    Raises:
        InvalidInput: it cannot be created, or a file inside cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise InvalidInput(
            f"{folder}: results cannot be written there ({error.strerror}); choose another --out"
        ) from error


# Text of cells.


def number(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """1234.5 is `1,234.50`; None and NaN are `–`."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:,.{decimals}f}{unit}".replace("-", "−")


def percent(value: float | None, decimals: int = 1) -> str:
    """0.123 is `12.3 %`."""
    return number(value if value is None else 100 * value, decimals, " %")


def interval(bounds: Sequence[float] | None, decimals: int = 2, scale: float = 1) -> str:
    """` (0.45 to 1.37)`; "" for None."""
    if bounds is None:
        return ""
    low, high = (number(scale * bound, decimals) for bound in bounds)
    return f" ({low} to {high})"


def difference(values: Array, decimals: int = 2, scale: float = 1) -> str:
    """A difference with its interval: `+1.2 (−0.3 to 2.7)`.

    Args:
        values: (1 + resamples,) as in `trim.evaluation.comparison`.
        scale: multiplies them; 100 is for percentage points.
    """
    value = scale * float(values[0])
    if math.isnan(value):
        return NOTHING
    sign = "+" if round(value, decimals) > 0 else ""
    return sign + number(value, decimals) + interval(interval_of(values), decimals, scale)


def spaced_label(point: Mapping[str, Any]) -> str:
    """A policy and its setting: `thr 0.5`, `weak`."""
    family, setting = point["policy"], point["setting"]
    return str(family) if setting is None else policy_name(family, setting).replace(":", " ", 1)
