"""`trim fit-rival`: the fitted rivals, from the bank that the method's routers learn from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trim.bank.bank import read_bank
from trim.errors import InvalidInput
from trim.files import write_atomically, writing
from trim.learning.rivals import FAMILIES, SCORES_OF, fit_rival
from trim.seen import seen_field


@click.command("fit-rival")
@click.argument("family", type=click.Choice(FAMILIES))
@click.argument("bank", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write, for --policy FAMILY:FILE.",
)
def fit_rival_command(family: str, bank: Path, out: Path) -> None:
    """Fit a rival to how each model alone solved the problems of a BANK.

    automix needs a bank of `trim collect --scorer logprob`, automix-prm one of --scorer joint or
    prm; docs/rivals.md says what they are.
    """
    recorded = read_bank(bank)
    kind = recorded.identity.scorer
    needed = SCORES_OF.get(family, (kind,))
    if kind not in needed:
        raise InvalidInput(
            f"{bank}: its steps have scores of the kind {kind!r}, and {family} needs"
            f" {' or '.join(map(repr, needed))}: collect a bank with --scorer {needed[0]}"
        )
    problems = recorded.solved_alone()
    record = {
        **fit_rival(family, problems),
        "models": recorded.identity.models,
        "scorer": recorded.identity.scorer,
        **seen_field(recorded.seen),
    }
    with writing(out):
        write_atomically(out, json.dumps(record, indent=2) + "\n")
    click.echo(f"{out}: {family}, from {len(problems)} problems; use it as --policy {family}:{out}")
