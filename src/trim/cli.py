"""The command line."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from importlib import import_module
from typing import Any

import click

from trim.errors import MoneySpent, TrimError
from trim.termination import terminable

COMMANDS = {
    "solve": "solve:solve",
    "eval": "evaluate:evaluate_command",
    "init": "init:init_command",
    "check": "check:check_command",
    "demo": "demo:demo",
    "generate": "generate:generate",
    "plan": "plan:plan",
    "fit": "fit:fit",
    "fit-scorer": "joint:fit_scorer",
    "rescore": "joint:rescore_command",
    "simulate": "simulate:simulate",
    "collect": "collect:collect",
    "import": "collect:import_command",
    "fit-rival": "rival:fit_rival_command",
    "train": "train:train",
    "export": "export:export",
    "calibrate": "calibrate:calibrate_command",
    "audit": "audit:audit_command",
    "ablate": "ablate:ablate",
    "serve": "serve:serve_command",
    "keys": "keys:keys_command",
    "traffic": "traffic:traffic_command",
}
"""Where each is in `trim.commands`; only the one that is called is imported."""


class TrimGroup(click.Group):
    """Turns every error that a user can mend into one line and exit code 2, and 3 for a run that
    has spent its --max-money; Ctrl-C and SIGTERM into one line and codes 130 and 143."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(f"trim.commands.{module}"), attribute)
        return command

    def invoke(self, context: click.Context) -> Any:
        with terminable() as terminated:
            try:
                return super().invoke(context)
            except TrimError as error:
                click.echo(f"trim: {error}", err=True)
                sys.exit(3 if isinstance(error, MoneySpent) else 2)
            except (KeyboardInterrupt, CancelledError) as interrupt:
                click.echo("; ".join(("trim: interrupted", *interrupt.args)), err=True)
                sys.exit(143 if terminated else 130)


@click.group(cls=TrimGroup)
@click.version_option(package_name="trim")
def main() -> None:
    """Solve problems step by step with a weak and a strong model."""
