"""A bar that shows how far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(title: str, total: int, out: Path) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error, moved by the number of what is finished.

    It appears with the first number, so that what is refused at once is told in one line. An
    interruption ends the command and tells how to go on.

    Args:
        out: folder that the same command continues from.
    """
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("", total=total)

    def move(finished: int) -> None:
        bar.start()
        bar.update(task, completed=finished)

    try:
        try:
            yield move
        finally:
            if bar.live.is_started:
                bar.stop()
    except KeyboardInterrupt:
        click.echo(f"trim: interrupted; the same command continues from {out}", err=True)
        sys.exit(130)
