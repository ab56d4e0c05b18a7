"""The command line."""

from __future__ import annotations

import sys
from typing import Any

import click

from trim.commands.ablate import ablate
from trim.commands.audit import audit_command
from trim.commands.calibrate import calibrate_command
from trim.commands.check import check_command
from trim.commands.collect import collect, import_command
from trim.commands.demo import demo
from trim.commands.evaluate import evaluate_command
from trim.commands.fit import fit
from trim.commands.generate import generate
from trim.commands.joint import fit_scorer, rescore_command
from trim.commands.keys import keys_command
from trim.commands.plan import plan
from trim.commands.rival import fit_rival_command
from trim.commands.serve import serve_command
from trim.commands.simulate import simulate
from trim.commands.solve import solve
from trim.commands.train import train
from trim.errors import TrimError


class TrimGroup(click.Group):
    """Turns every error that a user can mend into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TrimError as error:
            click.echo(f"trim: {error}", err=True)
            sys.exit(2)


@click.group(cls=TrimGroup)
@click.version_option(package_name="trim")
def main() -> None:
    """Solve problems step by step with a weak and a strong model."""


main.add_command(solve)
main.add_command(evaluate_command)
main.add_command(check_command)
main.add_command(demo)
main.add_command(generate)
main.add_command(plan)
main.add_command(fit)
main.add_command(fit_scorer)
main.add_command(rescore_command)
main.add_command(simulate)
main.add_command(collect)
main.add_command(import_command)
main.add_command(fit_rival_command)
main.add_command(train)
main.add_command(calibrate_command)
main.add_command(audit_command)
main.add_command(ablate)
main.add_command(serve_command)
main.add_command(keys_command)
