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

from trim.commands.options import path_type, set_option
from trim.configuration.check import Finding, check
from trim.configuration.lineup import open_lineup
from trim.models.probe import Verdict

COLUMNS = ("part", "reached", "continuation", "tokens", "cached", "right / wrong", "ms")
WIDTH = 90
"""Characters that no terminal may leave out of the table."""


@click.command("check")
@click.argument("configuration", metavar="CONFIG", type=path_type)
@set_option
def check_command(configuration: Path, assignments: tuple[str, ...]) -> None:
    """Try each part of the configuration CONFIG and show what it does (docs/configuration.md).

    Exit code 1 where a part does not work.
    """
    lineup = open_lineup(configuration, assignments)
    findings = asyncio.run(check(lineup.configuration, lineup.settings.sampling))
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(findings_table(findings))
    failures = [f"{each.part}: {each.failure}" for each in findings if each.failure]
    for failure in failures:
        click.echo(f"trim: {failure}", err=True)
    sys.exit(1 if failures else 0)


def findings_table(findings: Iterable[Finding]) -> Table:
    """What was found, a part a row; a dash stands for what a part does not have."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for position, heading in enumerate(COLUMNS):
        table.add_column(heading, justify="left" if position < 3 else "right", no_wrap=True)
    for each in findings:
        cells = (
            each.part,
            "yes" if each.reachable else "no",
            shown_mode(each),
            "–" if each.tokens is None else f"{each.tokens[0]} + {each.tokens[1]}",
            "–" if each.cached is None else str(each.cached),
            " / ".join(f"{score:.2f}" for score in each.scores) or "–",
            "–" if each.milliseconds is None else f"{each.milliseconds:.0f}",
        )
        table.add_row(*(Text(cell, "red" if each.failure else "") for cell in cells))
    return table


def shown_mode(finding: Finding) -> str:
    """The mode, with the probe's verdict where it is not plain."""
    if finding.continuation is None:
        return "–"
    plain = finding.verdict is Verdict.CONTINUED
    return finding.continuation if plain else f"{finding.continuation} ({finding.verdict})"
