"""Joint scores: `trim fit-scorer` and `trim rescore`."""

from __future__ import annotations

from pathlib import Path

import click

from trim.bank.bank import read_bank
from trim.bank.identity import fingerprint
from trim.bank.rescore import rescore
from trim.bank.signals import groups_of
from trim.bank.store import BankStore
from trim.learning.joint import fit_joint
from trim.scorers.joint import read_weights, write_weights
from trim.seen import read_seen

PART = 1000
"""Problems that are written together."""


@click.command("fit-scorer")
@click.argument("banks", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The file to write; as joint.json in a folder of models it serves --scorer joint.",
)
def fit_scorer(banks: tuple[Path, ...], out: Path) -> None:
    """Weigh the reward model's score and the models' confidence, from BANKS of both.

    The banks are of `trim collect --scorer prm`, all of the same models.
    """
    read = [read_bank(path) for path in banks]
    groups = groups_of(read)
    weights = fit_joint(groups, read[0].identity.models)
    write_weights(out, weights, frozenset().union(*(bank.seen for bank in read)))
    right = sum(outcome for _, outcome in groups)
    click.echo(
        f"{out}: log-odds {weights.intercept:.3g} + {weights.prm:.3g} of the score's +"
        f" {weights.log_probability:.3g} a nat, from {len(groups)} examples ({right} right)"
    )


@click.command("rescore")
@click.argument("bank", type=click.Path(path_type=Path))
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the new bank."
)
def rescore_command(bank: Path, weights: Path, out: Path) -> None:
    """Write BANK with joint scores by WEIGHTS, a file of `trim fit-scorer`, as a new bank."""
    joint, sha256 = read_weights(weights), fingerprint(weights)
    rescored = rescore(read_bank(bank), joint, sha256, read_seen(weights))
    store = BankStore(out, rescored.identity, PART)
    for problem in rescored.problems:
        store.add(problem)
    store.flush()
    click.echo(f"{out}: {len(rescored.problems)} problems with joint scores")
