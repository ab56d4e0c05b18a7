"""The command line."""

from __future__ import annotations

import os
import sys
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from trim.cli.signals import terminable
from trim.errors import DISTRIBUTION, MoneySpent, TrimError, require_extra
from trim.terminal import one_line, printable

SECTIONS = {
    "Solve and serve": {
        "demo": ("evaluate:demo", "Solve one hard problem live, then run a small evaluation."),
        "solve": ("solve:solve", "Solve one PROBLEM and print each step as it is decided."),
        "serve": ("serve:serve_command", "Serve the router through an OpenAI-compatible API."),
    },
    "Set up": {
        "init": ("configure:init_command", "Write and test a configuration for two models."),
        "check": ("configure:check_command", "Test each part of the configuration CONFIG."),
        "export": ("serve:export", "Export the shipped models as Hugging Face checkpoints."),
    },
    "Evaluate": {
        "eval": ("evaluate:evaluate_command", "Compare policies on a suite or benchmark."),
        "generate": ("evaluate:generate", "Print problems of a SUITE as JSON lines."),
        "ablate": ("studies:ablate", "Change one part of routing and measure the effect."),
        "audit": ("studies:audit_command", "Test whether a BANK's scorer is fit for routing."),
    },
    "Train and fit": {
        "collect": ("collect:collect", "Record solutions by both models in a bank."),
        "import": ("banks:import_command", "Import traces from a FILE into a bank."),
        "rescore": ("banks:rescore_command", "Copy a BANK with scores of another scorer."),
        "fit": ("fit:fit", "Fit the POMDP router's model to a bank."),
        "train": ("fit:train", "Train the router agg or seq on a BANK by PPO."),
        "fit-scorer": ("fit:fit_scorer", "Fit the weights of the joint scorer to BANKS."),
        "fit-rival": ("fit:fit_rival_command", "Fit a rival router to a BANK."),
        "fit-scope": (
            "fit:fit_scope_command",
            "Fit a classifier of requests that need reasoning to EXAMPLES.",
        ),
        "plan": ("plan:plan", "Compute the optimal POMDP router and bounds on its value."),
        "simulate": ("plan:simulate", "Predict each router's curve from a fitted MODEL."),
    },
    "Budgets": {
        "calibrate": ("calibrate:calibrate_command", "Choose the setting that keeps a budget."),
    },
    "Server data": {
        "keys": ("keys:keys_command", "Manage the API keys of `trim serve`."),
        "traffic": ("keys:traffic_command", "Manage the requests recorded by `trim serve`."),
    },
}
"""Commands by purpose: module and attribute in `trim.cli`, and the first line of the command's own
help, which is repeated here to list the commands without importing them."""
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class TrimGroup(click.Group):
    """Imports only the command that is called.

    An error that the user can correct is one line and exit code 2, or 3 where --max-money is
    spent; Ctrl-C and SIGTERM are one line and exit codes 130 and 143.
    """

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(f"trim.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = words[0]
        if name not in COMMANDS and not name.startswith("-") and not context.resilient_parsing:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", context)
        return super().resolve_command(context, words)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), line) for name, (_, line) in commands.items()]
                )

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, context, incomplete)]

    def main(self, args: Sequence[str] | None = None, *others: Any, **named: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # A terminal's encoding may lack a character; that is no reason to lose the rest.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(args, *others, **named)
        except SystemExit as ended:
            # Without `args` this is the program, not a call of it.
            if args is None and isinstance(ended.code, int) and ended.code:
                exit_at_once(ended.code)
            raise

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        with harmless_errors():
            return super().make_context(*arguments, **named)

    def invoke(self, context: click.Context) -> Any:
        with terminable() as terminated:
            try:
                with require_extra(), harmless_errors():
                    return super().invoke(context)
            except TrimError as error:
                click.echo(one_line(f"trim: {error}"), err=True)
                sys.exit(3 if isinstance(error, MoneySpent) else 2)
            except (KeyboardInterrupt, CancelledError) as interrupt:
                hint = "; ".join(("trim: interrupted", *interrupt.args))
                click.echo(one_line(hint), err=True)
                sys.exit(143 if terminated else 130)


def exit_at_once(code: int) -> NoReturn:
    """End this process, whatever its threads do.

    A step that a model is writing in this process cannot be stopped: Python would wait for its end,
    which takes a large model minutes.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def harmless_errors() -> Iterator[None]:
    """Show control characters in an error of the command line's syntax as escapes."""
    try:
        yield
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]
        raise


@click.group(
    cls=TrimGroup,
    epilog="""\b
Help for one command:     trim COMMAND --help
Completion in bash:       eval "$(_TRIM_COMPLETE=bash_source trim)"
Completion in zsh, fish:  the same with zsh_source, fish_source""",
)
@click.version_option(package_name=DISTRIBUTION)
def main() -> None:
    """Solve problems step by step with a weak and a strong model."""
