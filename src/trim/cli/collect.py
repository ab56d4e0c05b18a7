"""Filling banks of traces: `trim collect` and `trim import`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from trim.cli.options import (
    choose_lineup,
    choose_prices,
    cluster_at,
    configuration_argument,
    exact_option,
    max_money_option,
    models_option,
    out_option,
    path_type,
    prices_option,
    protocol_option,
    ray_option,
    ray_workers_option,
    scorer_option,
    set_option,
)
from trim.cli.problems import choose_problems, selection_options
from trim.cli.progress import progress_bar
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.selection import Selection
from trim.rollouts.bank import Bank
from trim.rollouts.collect import ROLLOUTS
from trim.rollouts.collect import collect as collect_bank
from trim.rollouts.explorer import FEWEST_ROLLOUTS
from trim.rollouts.traces import import_traces

DAY = "%Y-%m-%d"


@click.command()
@click.argument("suite", required=False)
@configuration_argument
@click.option(
    "-n",
    "count",
    type=int,
    show_default="500; of a benchmark, file or server all",
    help="How many problems.",
)
@click.option(
    "--from-server",
    metavar="DATABASE",
    help="Take the questions that `trim serve --keep-texts` has kept there, instead of a SUITE.",
)
@click.option(
    "--since",
    type=click.DateTime([DAY, f"{DAY}T%H:%M:%S"]),
    help="With --from-server: questions from this moment on (UTC).",
)
@click.option("--key", help="With --from-server: questions of the key with this name.")
@click.option(
    "--answers",
    type=path_type,
    help="With --from-server: file of right answers, records with question or request, and answer.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Random seed; what learns from the bank is to be evaluated with another one, or on other"
    " problems of a benchmark or file (--split, --skip).",
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
@prices_option
@ray_option
@ray_workers_option
@out_option
@protocol_option
@models_option
@set_option
@selection_options
def collect(
    suite: str | None,
    configuration: Path | None,
    count: int | None,
    from_server: str | None,
    since: datetime | None,
    key: str | None,
    answers: Path | None,
    seed: int,
    rollouts: int,
    scorer: str | None,
    exact: bool,
    max_money: float | None,
    prices_file: Path | None,
    ray: str | None,
    ray_workers: int | None,
    out: Path,
    protocol: str | None,
    models: Path,
    assignments: tuple[str, ...],
    selection: Selection,
) -> None:
    """Record what both models do with problems of a SUITE, and where each decision leads.

    SUITE is a suite, a benchmark or a file, as for `trim eval`; only the steps of suites can be
    checked, and others have no step labels. CONFIG is a configuration file
    (docs/configuration.md); without one the shipped models are recorded.

    With --from-server there is no SUITE; without --answers, what the strong model answers
    alone stands for the right answer, and the bank says so.

    Interrupted, the same command continues where it stopped; with a larger -n it adds
    problems.
    """
    if from_server is not None:
        if configuration is not None:
            raise InvalidInput(f"{suite}: with --from-server no SUITE is named")
        configuration, suite = Path(suite) if suite else None, None
        from trim.cli.problems import questions_of

        lineup = choose_lineup(configuration, assignments, models, protocol)
        problem_set = questions_of(from_server, since, key, answers, count, selection)
    else:
        given = {"--since": since, "--key": key, "--answers": answers}
        for option, value in given.items():
            if value is not None:
                raise InvalidInput(f"{option}: goes with --from-server")
        if suite is None:
            raise InvalidInput("name a SUITE, a benchmark or a file, or --from-server DATABASE")
        lineup = choose_lineup(configuration, assignments, models, protocol)
        problem_set = choose_problems(suite, count, seed, selection, lineup.protocol.shuffles)
    prices = choose_prices(prices_file, lineup)
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
            prices,
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
    right = "answer of the strong model" if bank.is_of_agreement else "alone right"
    return (
        f"{bank.identity.suite}: {len(problems)} problems, {solutions} solutions,"
        f" {len(forest)} drafts, {forest.has_choice.mean():.1%} of them with both actions"
        " recorded\n"
        f"{right}: weak {weak:.1%}, strong {strong:.1%}"
    )
