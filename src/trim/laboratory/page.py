"""What a study found, as one HTML page that needs nothing else and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from trim.errors import InvalidInput
from trim.evaluation.report import page_environment
from trim.files import write_atomically
from trim.laboratory.picture import Picture

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
