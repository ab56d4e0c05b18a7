"""Configurations: `trim init` writes one, `trim check` tests one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from trim.checks.check import Checkup, check
from trim.checks.findings import Finding, shown_auc
from trim.cli.options import path_type, set_option
from trim.cli.output import new_table
from trim.cli.terminal import echo, new_console
from trim.configuration.section import variable_name
from trim.configuration.source import open_models
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.models.probe import ProbeResult
from trim.setup.notation import FORMS
from trim.setup.proposal import propose

COLUMNS = ("part", "reached", "continuation", "tokens", "cached", "right / wrong", "AUC", "ms")
WIDTH = 80
"""Columns that the table needs."""


@click.command("check")
@click.argument("configuration", metavar="CONFIG", type=path_type)
@set_option
def check_command(configuration: Path, assignments: tuple[str, ...]) -> None:
    """Test each part of the configuration CONFIG.

    Other continuations and scorers are tested as well, and the best ones recommended
    (docs/reference/configuration.md). Model files on the hub are downloaded first. Exit code 1 if a
    part does not work, 2 if the hub does not deliver a file or a sha256 differs.
    """
    source = open_models(configuration, assignments)
    source.fetch()
    found = asyncio.run(check(source.configuration, source.config.sampling))
    show_checkup(found)
    sys.exit(1 if found.failures else 0)


def show_checkup(found: Checkup) -> None:
    """Print the table and the advice, and failures on standard error."""
    console = new_console()
    console.width = max(console.width, WIDTH)
    console.print(findings_table(found.findings))
    for line in found.advice:
        echo(line)
    for failure in found.failures:
        echo(f"trim: {failure}", err=True)


def findings_table(findings: Iterable[Finding]) -> Table:
    """The findings, one part per row; a dash marks a property that the part does not have."""
    table = new_table(None, *COLUMNS)
    for column in table.columns[1:3]:
        column.justify = "left"
    for each in findings:
        cells = (
            each.part,
            "yes" if each.reachable else "no",
            format_continuation(each),
            "–" if each.tokens is None else f"{each.tokens[0]} + {each.tokens[1]}",
            "–" if each.cached is None else str(each.cached),
            format_means(each),
            shown_auc(each.separation) if each.separation else "–",
            "–" if each.milliseconds is None else f"{each.milliseconds:.0f}",
        )
        table.add_row(*(Text(cell, "red" if each.failure else "") for cell in cells))
    return table


def format_continuation(finding: Finding) -> str:
    """The mode, with a question mark unless the probe showed that the model continues."""
    if finding.continuation is None:
        return "–"
    return finding.continuation.value + "?" * (finding.verdict is not ProbeResult.CONTINUED)


def format_means(finding: Finding) -> str:
    """Mean scores of right and of wrong steps."""
    if finding.separation is None:
        return "–"
    return " / ".join("–" if mean is None else f"{mean:.2f}" for mean in finding.separation.means)


SUFFIXES = (".yaml", ".yml")
QUESTIONS = {
    "weak": "Weak model, which drafts each step",
    "strong": "Strong model, which rewrites steps",
}


def check_variable(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Raises InvalidInput for an invalid name, without quoting it: it may be the key itself."""
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
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option(
    "--scorer",
    show_default="the best of logprob, entropy and grade",
    help="Scorer of steps: logprob, entropy, grade, or a reward model: a GGUF file or URL#MODEL.",
)
@click.option(
    "--weak-key-variable",
    metavar="NAME",
    callback=check_variable,
    help="Environment variable with the API key for the weak model.",
)
@click.option(
    "--strong-key-variable",
    metavar="NAME",
    callback=check_variable,
    help="Environment variable with the API key for the strong model.",
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
    """Write and test a configuration for two models.

    WEAK and STRONG are each a GGUF file (weak.gguf, or hf:ORG/REPO/FILE on the hub), a server and
    its model (http://localhost:8000/v1#Qwen/Qwen2.5-1.5B-Instruct; #MODEL may be left out if there
    is only one), or a service and its model (anthropic:MODEL, openai:MODEL, deepseek:MODEL,
    mistral:MODEL). On a terminal, missing ones are asked for. The kind of server, the continuation
    and the scorer are detected. Exit code 1 if a part does not work; the file is written in any
    case.
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
        echo(f"{out} is written, but not all of it works; fix it, then: trim check {out}")
        sys.exit(1)
    echo(f'{out} is written. Next: trim solve "What is 17 * 23?" {out}')


def require_free(out: Path, force: bool) -> None:
    """Raises InvalidInput if the file cannot be written."""
    if out.suffix not in SUFFIXES:
        raise InvalidInput(f"--out {out}: must end in .yaml or .yml")
    if out.is_dir():
        raise InvalidInput(f"--out {out}: is a folder; name a file")
    if not out.parent.is_dir():
        raise InvalidInput(f"--out {out}: {out.parent} does not exist; name another file")
    if out.exists() and not force:
        raise InvalidInput(f"{out} exists; name another --out, or replace it with --force")
