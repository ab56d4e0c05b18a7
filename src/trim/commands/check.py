"""`trim check`: whether the parts of a configuration work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trim.checks.advice import shown_auc
from trim.checks.finding import Finding
from trim.commands.options import path_type, set_option
from trim.configuration.check import Checkup, check
from trim.configuration.lineup import open_lineup
from trim.models.probe import Verdict

COLUMNS = ("part", "reached", "continuation", "tokens", "cached", "right / wrong", "AUC", "ms")
WIDTH = 90
"""Characters that no terminal may leave out of the table."""


@click.command("check")
@click.argument("configuration", metavar="CONFIG", type=path_type)
@set_option
def check_command(configuration: Path, assignments: tuple[str, ...]) -> None:
    """Try each part of the configuration CONFIG and show what it does (docs/configuration.md).

    Further continuations and scorers are tried as well, and the best ones named. Exit code 1
    where a part does not work.
    """
    lineup = open_lineup(configuration, assignments)
    found = asyncio.run(check(lineup.configuration, lineup.settings.sampling))
    show_checkup(found)
    sys.exit(1 if found.failures else 0)


def show_checkup(found: Checkup) -> None:
    """Print the table and the advice, and each failure on standard error."""
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(findings_table(found.findings))
    for line in found.advice:
        click.echo(line)
    for failure in found.failures:
        click.echo(f"trim: {failure}", err=True)


def findings_table(findings: Iterable[Finding]) -> Table:
    """What was found, a part a row; a dash stands for what a part does not have."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for position, heading in enumerate(COLUMNS):
        table.add_column(heading, justify="left" if position < 3 else "right", no_wrap=True)
    for each in findings:
        cells = (
            each.part,
            "yes" if each.reachable else "no",
            shown_continuation(each),
            "–" if each.tokens is None else f"{each.tokens[0]} + {each.tokens[1]}",
            "–" if each.cached is None else str(each.cached),
            shown_means(each),
            shown_auc(each.separation) if each.separation else "–",
            "–" if each.milliseconds is None else f"{each.milliseconds:.0f}",
        )
        table.add_row(*(Text(cell, "red" if each.failure else "") for cell in cells))
    return table


def shown_continuation(finding: Finding) -> str:
    """The mode, with a question mark where it is not plain that the model goes on."""
    if finding.continuation is None:
        return "–"
    return finding.continuation.value + "?" * (finding.verdict is not Verdict.CONTINUED)


def shown_means(finding: Finding) -> str:
    """The mean scores of right and of wrong steps."""
    if finding.separation is None:
        return "–"
    return " / ".join("–" if mean is None else f"{mean:.2f}" for mean in finding.separation.means)
