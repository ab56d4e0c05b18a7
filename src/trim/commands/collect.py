"""Filling banks of traces: `trim collect` and `trim import`."""

from __future__ import annotations

from pathlib import Path

import click

from trim.bank.bank import Bank
from trim.bank.collect import ROLLOUTS
from trim.bank.collect import collect as collect_bank
from trim.bank.explorer import FEWEST_ROLLOUTS
from trim.bank.traces import import_traces
from trim.commands.options import exact_option, models_option, out_option, path_type, scorer_option
from trim.commands.progress import progress_bar


@click.command()
@click.argument("suite")
@click.option("-n", "count", type=int, default=500, show_default=True, help="How many problems.")
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Random seed; what learns from the bank is to be evaluated with another one.",
)
@click.option(
    "--rollouts",
    type=click.IntRange(min=FEWEST_ROLLOUTS),
    default=ROLLOUTS,
    show_default=True,
    help="Solutions a problem may have, the one by each model alone included.",
)
@scorer_option
@exact_option
@out_option
@models_option
def collect(
    suite: str,
    count: int,
    seed: int,
    rollouts: int,
    scorer: str | None,
    exact: bool,
    out: Path,
    models: Path,
) -> None:
    """Record what both models do with problems of a SUITE, and where each decision leads.

    Interrupted, the same command continues where it stopped; with a larger -n it adds
    problems.
    """
    with progress_bar(f"recording {suite}", count, out) as progress:
        bank = collect_bank(suite, count, seed, out, models, scorer, rollouts, exact, progress)
    click.echo(described(bank))


@click.command("import")
@click.argument("file", type=path_type)
@out_option
def import_command(file: Path, out: Path) -> None:
    """Make a bank of the traces in FILE, which were made elsewhere (see docs/bank.md)."""
    click.echo(described(import_traces(file, out)))


def described(bank: Bank) -> str:
    """What a bank holds, in a few lines."""
    problems = bank.problems
    forest = bank.forest()
    solutions = sum(len(problem.rollouts) + 1 for problem in problems)
    weak, strong = (
        sum(getattr(problem, model).correct for problem in problems) / len(problems)
        for model in ("weak", "strong")
    )
    return (
        f"{bank.identity.suite}: {len(problems)} problems, {solutions} solutions,"
        f" {len(forest)} drafts, {forest.free.mean():.1%} of them with both actions recorded\n"
        f"alone right: weak {weak:.1%}, strong {strong:.1%}"
    )
