"""Filling banks of traces: `trim collect` and `trim import`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trim.bank.bank import Bank
from trim.bank.collect import ROLLOUTS
from trim.bank.collect import collect as collect_bank
from trim.bank.explorer import FEWEST_ROLLOUTS
from trim.bank.traces import import_traces
from trim.embedded import FOLDER
from trim.scorers.choice import KINDS

out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the bank."
)


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
@click.option(
    "--scorer",
    type=click.Choice(KINDS),
    show_default="joint where the models' folder has joint.json, else prm",
    help="What scores steps.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Repeat every character from run to run; takes about three times as long.",
)
@out_option
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default="the shipped models",
    help="Folder with weak.gguf, strong.gguf and scorer.gguf.",
)
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
    try:
        with progress_bar(f"recording {suite}", count) as progress:
            bank = collect_bank(suite, count, seed, out, models, scorer, rollouts, exact, progress)
    except KeyboardInterrupt:
        click.echo(f"trim: interrupted; the same command continues {out}", err=True)
        sys.exit(130)
    click.echo(described(bank))


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@out_option
def import_command(file: Path, out: Path) -> None:
    """Make a bank of the traces in FILE, which were made elsewhere (see docs/bank.md)."""
    click.echo(described(import_traces(file, out)))


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the standard error, moved by the number of what is finished.

    It appears with the first number, so that what is refused at once is told in one line.
    """
    bar = Progress(
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("", total=total)

    def move(finished: int) -> None:
        bar.start()
        bar.update(task, completed=finished)

    try:
        yield move
    finally:
        if bar.live.is_started:
            bar.stop()


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
