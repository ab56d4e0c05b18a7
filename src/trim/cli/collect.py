"""Recording solutions in a bank: `trim collect`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trim.cli.options import (
    check_limit,
    check_text,
    choose_prices,
    choose_source,
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
from trim.cli.problems import OF_FILES, choose_problems, count_option, selection_options
from trim.cli.progress import progress_bar
from trim.cli.terminal import echo
from trim.errors import InvalidInput
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.problem_set import ProblemSet
from trim.rollouts.bank import Bank
from trim.rollouts.collect import ROLLOUTS
from trim.rollouts.collect import collect as collect_bank
from trim.rollouts.explorer import MIN_ROLLOUTS

if TYPE_CHECKING:
    from trim.server.problems import KeptQuestions
    from trim.server.storage.keys import Keys

DAY = "%Y-%m-%d"


@click.command()
@click.argument("suite", required=False)
@configuration_argument
@click.option(
    "--config",
    "given_configuration",
    type=path_type,
    metavar="CONFIG",
    help="The configuration, in place of the argument CONFIG; needed with --from-server.",
)
@count_option
@click.option(
    "--from-server",
    metavar="DATABASE",
    help="Use the questions recorded there by `trim serve --keep-texts`, in place of a SUITE.",
)
@click.option(
    "--since",
    type=click.DateTime([DAY, f"{DAY}T%H:%M:%S"]),
    help="With --from-server: only questions since this time (UTC).",
)
@click.option(
    "--key",
    callback=check_text,
    help="With --from-server: only questions of the key with this name.",
)
@click.option(
    "--answers",
    type=path_type,
    help="With --from-server: file of right answers, each with question or request, and answer.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Random seed; evaluate what is fitted to the bank with another one, or on other problems"
    " of a benchmark or file (--split, --skip).",
)
@click.option(
    "--rollouts",
    type=click.IntRange(min=MIN_ROLLOUTS),
    default=ROLLOUTS,
    show_default=True,
    help="Solutions per problem at most, including one by each model alone.",
)
@scorer_option
@click.option(
    "--policy",
    "specs",
    multiple=True,
    help="Record the solutions of this policy on tokens too, as token:0.5,0.9 or"
    " thr:0.5,0.9+tail:0.9, for `trim calibrate`; repeatable.",
)
@click.option(
    "--max-strong-tokens",
    type=int,
    callback=check_limit,
    help="With --policy: strong tokens per solution after which the weak model goes on alone.",
)
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
    given_configuration: Path | None,
    count: int | None,
    from_server: str | None,
    since: datetime | None,
    key: str | None,
    answers: Path | None,
    seed: int,
    rollouts: int,
    scorer: str | None,
    specs: tuple[str, ...],
    max_strong_tokens: int | None,
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
    """Record solutions by both models in a bank.

    The bank holds drafts, rewrites and where each decision leads, for problems of a SUITE, a
    benchmark or a file, as for `trim eval`. Only the steps of suites are labelled right or wrong.
    CONFIG is a configuration file (docs/reference/configuration.md), by default the shipped models.

    --from-server takes recorded questions in place of a SUITE. Without --answers the strong model's
    own answer counts as right, and the bank is marked accordingly.

    An interrupted command continues where it stopped; a larger -n adds problems. With further
    --policy, a bank gets the solutions of these.
    """
    if max_strong_tokens is not None and not specs:
        raise InvalidInput("--max-strong-tokens: goes with --policy")
    if from_server is not None and configuration is None and suite is not None:
        # The form before --config: the only argument is the configuration.
        configuration, suite = Path(suite), None
    if configuration is not None and given_configuration is not None:
        raise InvalidInput(f"--config: the configuration is {configuration} already; give one")
    configuration = configuration or given_configuration
    if from_server is not None:
        if suite is not None:
            raise InvalidInput(f"{suite}: with --from-server no SUITE is named")
        source = choose_source(configuration, assignments, models, protocol)
        problem_set = questions_of(from_server, since, key, answers, count, selection)
    else:
        given = {"--since": since, "--key": key, "--answers": answers}
        for option, value in given.items():
            if value is not None:
                raise InvalidInput(f"{option}: goes with --from-server")
        if suite is None:
            raise InvalidInput("name a SUITE, a benchmark or a file, or --from-server DATABASE")
        source = choose_source(configuration, assignments, models, protocol)
        problem_set = choose_problems(suite, count, seed, selection, source.protocol.shuffles)
    prices = choose_prices(prices_file, source)
    title = f"recording {problem_set.name}"
    with progress_bar(title, len(problem_set.problems), out) as progress:
        bank = collect_bank(
            problem_set,
            seed,
            out,
            source,
            scorer,
            rollouts,
            exact,
            progress,
            max_money,
            cluster_at(ray, ray_workers),
            prices,
            specs,
            max_strong_tokens,
        )
    for line in describe(bank):
        echo(line)


def questions_of(
    database: str,
    since: datetime | None,
    key: str | None,
    answers: Path | None,
    count: int | None,
    selection: Selection,
) -> ProblemSet:
    """The questions recorded in a server's database.

    Raises:
        InvalidInput: there are none, the database cannot be read, or an option does not apply.
    """
    from trim.cli.keys import use_keys
    from trim.server.problems import Answers, kept_questions, left_out, problems_of

    if selection.skip:
        raise InvalidInput(
            "--skip: goes with a suite, a benchmark or a file, not with --from-server"
        )
    for option in OF_FILES:
        if option != "grader" and getattr(selection, option) is not None:
            raise InvalidInput(f"--{option}: goes with a file of problems, not with --from-server")
    given = Answers.read(answers) if answers else None
    moment = since.replace(tzinfo=UTC).timestamp() if since else 0.0

    async def read(keys: Keys) -> KeptQuestions:
        return await kept_questions(keys.engine, moment, key)

    kept = use_keys(database, read)
    problem_set = problems_of(kept, count, given, selection.grader)
    echo(f"{len(problem_set.problems)} questions; {left_out(kept)}", err=True)
    return problem_set


def describe(bank: Bank) -> list[str]:
    """The contents of a bank in two lines, and one with the policies that it records."""
    problems = bank.problems
    forest = bank.tree_batch(copies=1)
    solutions = sum(len(problem.rollouts) + problem.has_strong for problem in problems)
    models = ("weak", "strong") if bank.has_strong else ("weak",)
    accuracies = (
        f"{model} {sum(getattr(each, model).correct for each in problems) / len(problems):.1%}"
        for model in models
    )
    right = "answer of the strong model" if bank.measures_agreement else "alone right"
    lines = [
        f"{bank.identity.suite}: {bank.groups.max() + 1} problems, {solutions} solutions,"
        f" {len(forest)} drafts, {forest.has_choice.mean():.1%} of them with both actions"
        " recorded",
        f"{right}: {', '.join(accuracies)}",
    ]
    recorded = sorted({policy for policy, _ in bank.recorded_policies})
    return [*lines, f"solutions of {', '.join(recorded)}"] if recorded else lines
