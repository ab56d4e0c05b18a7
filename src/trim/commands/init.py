"""`trim init`: a configuration for two models."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trim.commands.check import show_checkup
from trim.commands.options import path_type
from trim.configuration.section import variable_name
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.setup.notation import FORMS
from trim.setup.set_up import set_up

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
    found = set_up(named, variables, scorer, out)
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
