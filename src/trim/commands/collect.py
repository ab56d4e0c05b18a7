"""Filling banks of traces: `trim collect` and `trim import`."""

from __future__ import annotations

from pathlib import Path

import click

from trim.bank.bank import Bank
from trim.bank.collect import ROLLOUTS
from trim.bank.collect import collect as collect_bank
from trim.bank.explorer import FEWEST_ROLLOUTS
from trim.bank.traces import import_traces
from trim.commands.benchmark import choose_problems, selection_options
from trim.commands.cluster import cluster_at
from trim.commands.lineup import choose_lineup
from trim.commands.options import (
    configuration_argument,
    exact_option,
    max_money_option,
    models_option,
    out_option,
    path_type,
    ray_option,
    ray_workers_option,
    scorer_option,
    set_option,
)
from trim.commands.progress import progress_bar
from trim.evaluation.benchmarks.selection import Selection


@click.command()
@click.argument("suite")
@configuration_argument
@click.option(
    "-n",
    "count",
    type=int,
    show_default="500; of a benchmark or file all",
    help="How many problems.",
)
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
@max_money_option
@ray_option
@ray_workers_option
@out_option
@models_option
@set_option
@selection_options
def collect(
    suite: str,
    configuration: Path | None,
    count: int | None,
    seed: int,
    rollouts: int,
    scorer: str | None,
    exact: bool,
    max_money: float | None,
    ray: str | None,
    ray_workers: int | None,
    out: Path,
    models: Path,
    assignments: tuple[str, ...],
    selection: Selection,
) -> None:
    """Record what both models do with problems of a SUITE, and where each decision leads.

    SUITE is a suite, a benchmark or a file, as for `trim eval`; only the steps of suites can be
    checked, and others have no step labels. CONFIG is a configuration file
    (docs/configuration.md); without one the shipped models are recorded.

    Interrupted, the same command continues where it stopped; with a larger -n it adds
    problems.
    """
    problem_set = choose_problems(suite, count, seed, selection)
    lineup = choose_lineup(configuration, assignments, models)
    title = f"recording {problem_set.name}"
    with progress_bar(title, len(problem_set.problems), out) as progress:
        bank = collect_bank(
            problem_set,
            seed,
            out,
            lineup,
            scorer,
            rollouts,
            exact,
            progress,
            max_money,
            cluster_at(ray, ray_workers),
        )
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
    forest = bank.forest(copies=1)
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
