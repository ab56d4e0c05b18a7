"""`trim init`: a configuration for two models."""

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

from trim.checks.check import Checkup, check
from trim.checks.findings import Finding, shown_auc
from trim.cli.options import path_type, set_option
from trim.configuration.section import variable_name
from trim.configuration.source import open_models
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.models.probe import ProbeResult
from trim.setup.notation import FORMS
from trim.setup.proposal import propose

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
    lineup = open_models(configuration, assignments)
    found = asyncio.run(check(lineup.configuration, lineup.config.sampling))
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
    return finding.continuation.value + "?" * (finding.verdict is not ProbeResult.CONTINUED)


def shown_means(finding: Finding) -> str:
    """The mean scores of right and of wrong steps."""
    if finding.separation is None:
        return "–"
    return " / ".join("–" if mean is None else f"{mean:.2f}" for mean in finding.separation.means)


SUFFIXES = (".yaml", ".yml")
QUESTIONS = {
    "weak": "Weak model, which drafts each step",
    "strong": "Strong model, which rewrites steps",
}


def check_variable(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Raises InvalidInput for what is no name; it is not repeated, as it may be the key."""
    try:
        return name and variable_name(name)
    except ValueError as error:
        raise InvalidInput(f"{option.opts[0]}: {error}") from None


@click.command("init")
@click.argument("weak", required=False)
@click.argument("strong", required=False)
@click.option(
    "--out", type=path_type, default=Path("trim.yaml"), show_default=True, help="File to write."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--scorer",
    show_default="the best of logprob, entropy and grade",
    help="What scores steps: logprob, entropy, grade, or a reward model: a GGUF file or URL#MODEL.",
)
@click.option(
    "--weak-key-variable",
    metavar="NAME",
    callback=check_variable,
    help="Environment variable that holds the key of the weak model's server.",
)
@click.option(
    "--strong-key-variable",
    metavar="NAME",
    callback=check_variable,
    help="Environment variable that holds the key of the strong model's server.",
)
def init_command(
    weak: str | None,
    strong: str | None,
    out: Path,
    force: bool,
    scorer: str | None,
    weak_key_variable: str | None,
    strong_key_variable: str | None,
) -> None:
    """Write a configuration for a WEAK and a STRONG model, and try it as `trim check` does.

    Each is a GGUF file (weak.gguf), a server and its model
    (http://localhost:8000/v1#Qwen/Qwen2.5-1.5B-Instruct; without #MODEL its only one), or a
    service and its model (anthropic:MODEL, openai:MODEL, deepseek:MODEL, mistral:MODEL). Without
    them a terminal is asked. The kind of server, the continuation and the scorer are found out by
    trying. Exit code 1 where a part does not work; the file is written all the same.
    """
    models = {"weak": weak, "strong": strong}
    if not all(models.values()) and not sys.stdin.isatty():
        raise InvalidInput(f"name a weak and a strong model, each {FORMS}")
    require_free(out, force)
    named = {role: given or str(click.prompt(QUESTIONS[role])) for role, given in models.items()}
    variables = {"weak": weak_key_variable, "strong": strong_key_variable}
    found = propose(named, variables, scorer, out)
    with writing(out):
        write_atomically(out, found.text)
    show_checkup(found.checkup)
    if found.checkup.failures:
        click.echo(f"{out} is written, but not all of it works; see above, then: trim check {out}")
        sys.exit(1)
    click.echo(f'{out} is written. Next: trim solve "What is 17 * 23?" {out}')


def require_free(out: Path, force: bool) -> None:
    """Raises InvalidInput where the file cannot be written; nothing has been tried by then."""
    if out.suffix not in SUFFIXES:
        raise InvalidInput(f"--out {out}: a configuration is a .yaml file")
    if out.is_dir() or not out.parent.is_dir():
        raise InvalidInput(f"--out {out}: its folder must be there; name another file")
    if out.exists() and not force:
        raise InvalidInput(f"{out} is there already; name another --out, or replace it by --force")
