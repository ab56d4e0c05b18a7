"""Fills reference/cli.md from the click commands: a section for each, as `--help` shows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

PAGE = "reference/cli"


def sections(name: str, command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """The Markdown of a command and of those below it."""
    context = click.Context(command, parent=parent, info_name=name)
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    if parent:
        yield f"## `{context.command_path}`\n\n{text}\n"
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```text\n{context.command_path} {usage}\n```\n"
        options = (one for one in command.params if isinstance(one, click.Option))
        records = filter(None, (option.get_help_record(context) for option in options))
        rows = [f"| `{cell(names)}` | {cell(help_text)} |" for names, help_text in records]
        if rows:
            yield "\n".join(("| option | meaning |", "|---|---|", *rows)) + "\n"
    if isinstance(command, click.Group):
        for below in sorted(command.list_commands(context)):
            found = command.get_command(context, below)
            if found and not found.hidden:
                yield from sections(below, found, context)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def fill(app, docname, source) -> None:
    if docname == PAGE:
        from trim.cli.main import main

        source[0] += "\n" + "\n".join(sections("trim", main, None))


def setup(app):
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
