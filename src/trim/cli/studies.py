"""Studies: `trim ablate` and `trim audit`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trim.cli.options import path_type
from trim.cli.output import print_page
from trim.cli.progress import progress_bar
from trim.cli.run_arguments import RunArguments, run_arguments
from trim.cli.terminal import new_console
from trim.errors import InvalidInput, require_packages
from trim.evaluation.plot import write_figure
from trim.evaluation.progress import RunProgress
from trim.evaluation.report import FILE_NAME, Page, results_folder, write_page
from trim.files import write_atomically
from trim.policies.ppo.weights import LearnedRouter
from trim.policies.registry import parse_share
from trim.rollouts.bank import Bank, read_bank
from trim.studies.audit import Audit, audit
from trim.studies.audit_comparison import (
    Comparison,
    compare_audits,
    comparison_page,
    draw_reliabilities,
)
from trim.studies.audit_page import RELIABILITY, audit_figures, audit_page
from trim.studies.low_budget import LIMIT, study_low_budget
from trim.studies.noise import LEVELS, Trainer, study_noise
from trim.studies.takeover import study_takeover
from trim.studies.transfer import SUITES, study_transfer
from trim.studies.trial import BUDGETS, THRESHOLDS, Trial
from trim.terminal import one_line

CONFIGURATIONS = (".yaml", ".yml", ".toml")
DEFAULT_BUDGETS = ",".join(f"{100 * budget:g}" for budget in BUDGETS)


def parse_thresholds(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    """`0.1,0.5`: numbers from 0 to 1; by default those of the study."""
    return tuple(parse_share("thr", k) for k in text.split(",")) if text else THRESHOLDS


def parse_budgets(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[float, ...] | None:
    """`2,5,10`: percentages of the strong model's tokens, as ascending shares.

    Raises:
        InvalidInput: not such percentages.
    """
    if text is None:
        return None
    try:
        given = {float(percent) / 100 for percent in text.split(",")}
    except ValueError:
        given = {math.nan}
    if not all(0 < share <= 1 for share in given):
        raise InvalidInput(
            f"--budgets {text}: give percentages of the strong model's tokens, above 0 and up to"
            " 100, separated by commas, as in 2,5,10"
        )
    return tuple(sorted(given))


def budgets_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--budgets",
        callback=parse_budgets,
        show_default=default,
        help="Budgets at which accuracies are compared, in percent of the strong model's tokens,"
        " as in 2,5,10.",
    )


policy_option = click.option(
    "--policy",
    "specs",
    multiple=True,
    help="A router besides thr, as in agg:DIR or pomdp:FILE; repeatable.",
)


@click.group()
def ablate() -> None:
    """Change one part of routing and measure the effect.

    SUITE and CONFIG are those of `trim eval`: generated problems, a benchmark or a file, solved by
    the models of a configuration, by default the shipped ones. An interrupted command continues
    where it stopped.
    """
    require_packages("a study", "matplotlib", "scipy")


def trial_on(name: str, run: RunArguments) -> Trial:
    return Trial(run.problems(name), run.source, run.options, run.executor)


@contextmanager
def progress_over(
    trials: Sequence[Trial], out: Path
) -> Iterator[Callable[[int], Callable[[RunProgress], None]]]:
    """A progress bar over all trials; yields the progress callback of a trial by its index."""
    counts = [len(trial.problem_set.problems) for trial in trials]
    names = " ".join(dict.fromkeys(trial.name for trial in trials))
    with progress_bar(f"solving {names}", sum(counts), out) as progress:

        def progress_of(index: int) -> Callable[[RunProgress], None]:
            before = sum(counts[:index])
            return lambda standing: progress(standing.after(before))

        yield progress_of


@ablate.command()
@click.argument("suite")
@click.option(
    "--thresholds",
    "thresholds",
    callback=parse_thresholds,
    show_default=f"{len(THRESHOLDS)} that span the curve of the shipped models",
    help="Thresholds k of both policies, as in 0.1,0.5,0.9.",
)
@budgets_option(DEFAULT_BUDGETS)
@run_arguments()
def takeover(
    suite: str, thresholds: tuple[float, ...], budgets: tuple[float, ...] | None, run: RunArguments
) -> None:
    """Compare rewriting one step with rewriting all that follow, on a SUITE."""
    trial = trial_on(suite, run)
    with progress_over([trial], run.out) as progress_of:
        page = study_takeover(trial, run.out, thresholds, progress_of(0), budgets or BUDGETS)
    conclude(page, run.out)


@ablate.command("low-budget")
@click.argument("suite")
@policy_option
@click.option(
    "--limit",
    type=float,
    show_default=f"{LIMIT:g}",
    help="Largest strong share to compare; five budgets are spread up to it.",
)
@budgets_option("five up to --limit")
@run_arguments()
def low_budget(
    suite: str,
    specs: tuple[str, ...],
    limit: float | None,
    budgets: tuple[float, ...] | None,
    run: RunArguments,
) -> None:
    """Compare routers on a SUITE at a small strong share."""
    if limit is not None and budgets:
        raise InvalidInput("--limit: --budgets names the largest share; give only one of the two")
    trial = trial_on(suite, run)
    highest = LIMIT if limit is None else limit
    with progress_over([trial], run.out) as progress_of:
        page = study_low_budget(trial, specs, run.out, highest, progress_of(0), budgets)
    conclude(page, run.out)


@ablate.command()
@click.argument("suite", required=False)
@policy_option
@click.option(
    "--suites",
    show_default=f"SUITE, else {','.join(SUITES)}",
    help="More suites, benchmarks or files to compare on, with commas.",
)
@budgets_option(DEFAULT_BUDGETS)
@run_arguments()
def transfer(
    suite: str | None,
    specs: tuple[str, ...],
    suites: str | None,
    budgets: tuple[float, ...] | None,
    run: RunArguments,
) -> None:
    """Compare routers with thr on problems that they were not trained on.

    SUITE is one suite, benchmark or file, or several with commas. The options that select problems
    apply to each of them.
    """
    if suite and suite.endswith(CONFIGURATIONS):
        raise InvalidInput(
            f"{suite}: CONFIG follows SUITE; name the suites first, as in words,program {suite}"
        )
    named = [name for given in (suite, suites) if given for name in given.split(",")]
    trials = [trial_on(name, run) for name in dict.fromkeys(named or SUITES)]
    with progress_over(trials, run.out) as progress_of:
        page = study_transfer(trials, specs, run.out, progress_of, budgets or BUDGETS)
    conclude(page, run.out)


@ablate.command()
@click.argument("bank", type=path_type)
@click.argument("suite")
@click.option(
    "--sigmas",
    default=",".join(f"{sigma:g}" for sigma in LEVELS),
    show_default=True,
    help="Standard deviations of the noise in the logit of scores.",
)
@click.option(
    "--iterations", type=click.IntRange(min=1), help="Training iterations of agg at most."
)
@budgets_option(DEFAULT_BUDGETS)
@run_arguments("scorer", "ray", "ray_workers")
def noise(
    bank: Path,
    suite: str,
    sigmas: str,
    iterations: int | None,
    budgets: tuple[float, ...] | None,
    run: RunArguments,
) -> None:
    """Compare thr, pomdp and agg on a SUITE with noise added to the scores.

    The scores are those of the BANK of `trim collect`; pomdp and agg are fitted to it with the same
    noise. agg needs the extra `train`, and is left out without it.
    """
    levels = parse_sigmas(sigmas)
    recorded = read_bank(bank)
    trial = trial_on(suite, run)
    trainer = make_agg_trainer(iterations)
    with progress_over([trial] * len(levels), run.out) as progress_of:
        page = study_noise(
            recorded, trial, run.out, levels, trainer, progress_of, budgets or BUDGETS, iterations
        )
    conclude(page, run.out)


def parse_sigmas(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(sigma) for sigma in text.split(",")))
    except ValueError as error:
        raise InvalidInput(
            f"--sigmas {text}: give numbers from 0 up, separated by commas, as in 0,1,2"
        ) from error


def make_agg_trainer(iterations: int | None) -> Trainer | None:
    """A function that trains agg on a bank; None if the extra `train` is not installed."""
    try:
        from trim.policies.ppo.trainer import DEFAULT_ARGUMENTS
        from trim.policies.ppo.trainer import train as train_router
    except ImportError:
        return None
    arguments = DEFAULT_ARGUMENTS["agg"]
    if iterations is not None:
        arguments = replace(arguments, iterations=iterations)

    def trainer(bank: Bank) -> LearnedRouter:
        trained = train_router(bank.tree_batch(), arguments)
        return trained.router(bank.identity.scorer, bank.identity.models)

    return trainer


def conclude(page: Page, out: Path) -> None:
    report = write_page(page, out)
    console = new_console()
    print_page(console, page)
    console.print(one_line(f"report  {report}"), soft_wrap=True)


@click.command("audit")
@click.argument("banks", metavar="BANK...", nargs=-1, required=True, type=path_type)
@click.option("--against", type=path_type, help="An earlier bank, to detect drift since then.")
@click.option("--out", type=path_type, help="Folder for report, figures and audit.json.")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def audit_command(
    banks: tuple[Path, ...], against: Path | None, out: Path | None, as_json: bool
) -> None:
    """Test whether a BANK's scorer is fit for routing.

    Several banks are compared, such as one for each scorer of the same solutions.
    docs/guides/studies.md explains the figures.
    """
    banks = tuple(dict.fromkeys(banks))
    if len(banks) > 1 and against:
        raise InvalidInput("--against: goes with one BANK; name the others without it to compare")
    found: Audit | Comparison
    if len(banks) > 1:
        found = compare_audits([(path, read_bank(path)) for path in banks])
        figures = {RELIABILITY: draw_reliabilities(found)}
        page = comparison_page(found, figures[RELIABILITY])
    else:
        earlier = (against, read_bank(against)) if against else None
        found = audit(read_bank(banks[0]), banks[0], earlier)
        figures = audit_figures(found)
        page = audit_page(found, figures)
    record = json.dumps(found.to_json(), indent=2, allow_nan=False)
    if out:
        with results_folder(out):
            write_atomically(out / "audit.json", record + "\n")
            for name, figure in figures.items():
                write_figure(figure, [out / f"{name}.{kind}" for kind in ("svg", "png")])
        write_page(page, out)
    if as_json:
        click.echo(record)
        return
    console = new_console()
    print_page(console, page)
    if out:
        console.print(one_line(f"report  {out / FILE_NAME}"), soft_wrap=True)
