"""Banks from what is recorded elsewhere: `trim import` and `trim rescore`."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from trim.cli.collect import describe
from trim.cli.options import choose_source, models_option, out_option, path_type, set_option
from trim.cli.progress import progress_bar
from trim.cli.terminal import echo
from trim.errors import InvalidInput
from trim.evaluation.progress import RunProgress
from trim.files import sha256_of
from trim.fingerprints import read_seen
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.bank_scorer import rescore_by
from trim.rollouts.import_traces import import_traces
from trim.rollouts.rescore import rescore
from trim.rollouts.routed_store import RoutedStore
from trim.rollouts.store import BankStore, locked_bank
from trim.scorers.joint import read_weights
from trim.scorers.scorer import KINDS

SUFFIXES = (".yaml", ".yml", ".toml")
"""Of configurations."""
PART_SIZE = 1000
"""Problems per part of a bank with joint scores."""


@click.command("import")
@click.argument("file", type=path_type)
@click.option(
    "--scores",
    metavar="NAME",
    show_default="prm_scores",
    help="Field with the scores, in a file with those of several reward models; none for a bank"
    " without scores.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    show_default="the field dataset, else the name of the file",
    help="Name of the data set.",
)
@out_option
def import_command(file: Path, scores: str | None, dataset: str | None, out: Path) -> None:
    """Import traces from a FILE into a bank.

    The traces may come from any program: solutions of both models, several solutions of a problem
    by one model, or solutions with the index of the first wrong step, in JSON lines, also
    compressed as .gz. docs/reference/bank.md describes the fields.
    """
    for line in describe(import_traces(file, out, scores=scores, dataset=dataset)):
        echo(line)


@click.command("rescore")
@click.argument("bank", type=path_type)
@click.argument("weights", metavar="[WEIGHTS|CONFIG]", type=path_type, required=False)
@click.option(
    "--scorer",
    type=click.Choice(KINDS),
    show_default="that of the configuration",
    help="Kind of score by a configuration.",
)
@models_option
@set_option
@click.option("--out", type=path_type, required=True, help="Folder for the new bank.")
def rescore_command(
    bank: Path,
    weights: Path | None,
    scorer: str | None,
    models: Path,
    assignments: tuple[str, ...],
    out: Path,
) -> None:
    """Copy a BANK with scores of another scorer.

    WEIGHTS is a file of `trim fit-scorer`, which makes joint scores from what is recorded. CONFIG
    is a .yaml or .toml configuration, by default the shipped models; its scorer reads every step.
    An interrupted command continues where it stopped.
    """
    if weights is not None and weights.suffix not in SUFFIXES:
        refuse_options("scorer", "models", "assignments")
        rescored = rescore_jointly(bank, weights, out)
        echo(f"{out}: {len(rescored.problems)} problems with joint scores")
        return
    source = choose_source(weights, assignments, models)
    recorded = read_bank(bank, scored=False)
    with progress_bar("scoring", len(recorded.problems), out) as progress:
        rescored = rescore_by(
            recorded, source, out, scorer, lambda finished: progress(RunProgress(finished))
        )
    kind = rescored.identity.scorer
    echo(f"{out}: {len(rescored.problems)} problems with {kind} scores")


def rescore_jointly(path: Path, weights: Path, out: Path) -> Bank:
    """Write the bank with joint scores by a file of weights. Raises as `rescore`."""
    joint, sha256 = read_weights(weights), sha256_of(weights)
    rescored = rescore(read_bank(path), joint, sha256, read_seen(weights))
    with locked_bank(out):
        store = BankStore(out, rescored.identity, PART_SIZE)
        for problem in rescored.problems:
            store.add(problem)
        store.flush()
        RoutedStore(out).add(rescored.routed)
    return rescored


def refuse_options(*names: str) -> None:
    """Raises InvalidInput if one of these options of a configuration is given with weights."""
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "")
        if option.name in names and given is ParameterSource.COMMANDLINE:
            raise InvalidInput(
                f"{option.opts[0]}: goes with a configuration, not with a file of weights"
            )
