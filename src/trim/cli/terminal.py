"""Printing on a terminal, of which no printed text takes control."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from trim.terminal import one_line, printable

UNWRAPPED = 10_000
"""Columns of a pipe or file, whose readers expect whole lines."""


class HarmlessConsole(Console):
    """A console on which no printed text controls the terminal (`trim.terminal.printable`)."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment if text == segment.text else segment._replace(text=text)


def echo(line: str, err: bool = False) -> None:
    """Print one line; what it quotes of files, names and models neither ends nor controls it."""
    click.echo(one_line(line), err=err)


def new_console(stderr: bool = False) -> Console:
    """Standard output; lines are wrapped only on a terminal, or where COLUMNS is set."""
    console = HarmlessConsole(highlight=False, markup=False, emoji=False, stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNWRAPPED
    return console
