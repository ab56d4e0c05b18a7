"""The command line."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from importlib import import_module
from typing import Any

import click

from trim.cli.signals import terminable
from trim.errors import MoneySpent, TrimError

COMMANDS = {
    "solve": "solve:solve",
    "eval": "evaluate:evaluate_command",
    "init": "configure:init_command",
    "check": "configure:check_command",
    "demo": "evaluate:demo",
    "generate": "evaluate:generate",
    "plan": "plan:plan",
    "fit": "fit:fit",
    "fit-scorer": "fit:fit_scorer",
    "rescore": "fit:rescore_command",
    "simulate": "plan:simulate",
    "collect": "collect:collect",
    "import": "collect:import_command",
    "fit-rival": "fit:fit_rival_command",
    "train": "fit:train",
    "export": "serve:export",
    "calibrate": "calibrate:calibrate_command",
    "audit": "studies:audit_command",
    "ablate": "studies:ablate",
    "serve": "serve:serve_command",
    "keys": "keys:keys_command",
    "traffic": "keys:traffic_command",
}
"""Where each is in `trim.cli`; only the one that is called is imported."""


class TrimGroup(click.Group):
    """Turns every error that a user can mend into one line and exit code 2, and 3 for a run that
    has spent its --max-money; Ctrl-C and SIGTERM into one line and codes 130 and 143."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(f"trim.cli.{module}"), attribute)
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
