"""Studies: `trim ablate` and `trim audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trim.cli.options import models_option, out_option, path_type, seed_option
from trim.cli.output import new_console, print_page
from trim.cli.progress import progress_bar
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
from trim.studies.low_budget import study_low_budget
from trim.studies.noise import LEVELS, Trainer, study_noise
from trim.studies.takeover import study_takeover
from trim.studies.transfer import SUITES, study_transfer
from trim.studies.trial import THRESHOLDS, Trial


def parse_thresholds(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    """`0.1,0.5`: numbers from 0 to 1; by default those of the study."""
    return tuple(parse_share("thr", k) for k in text.split(",")) if text else THRESHOLDS


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every study."""
    for option in (
        models_option,
        out_option,
        seed_option,
        click.option(
            "-n", "count", type=int, default=500, show_default=True, help="Number of problems."
        ),
    ):
        command = option(command)
    return command


@click.group()
def ablate() -> None:
    """Change one part of routing and measure the effect.

    An interrupted command continues where it stopped.
    """
    require_packages("a study", "matplotlib", "scipy")


@ablate.command()
@click.argument("suite")
@click.option(
    "--thresholds",
    "thresholds",
    callback=parse_thresholds,
    show_default=f"{len(THRESHOLDS)} that span the curve",
    help="Thresholds k of both policies, as in 0.1,0.5,0.9.",
)
@common_options
def takeover(
    suite: str, thresholds: tuple[float, ...], count: int, seed: int, out: Path, models: Path
) -> None:
    """Compare rewriting one step with rewriting all that follow, on a SUITE."""
    trial = Trial(suite, count, seed, models)
    with progress_bar(f"solving {suite}", count, out) as progress:
        page = study_takeover(trial, out, thresholds, progress)
    conclude(page, out)


policy_option = click.option(
    "--policy",
    "specs",
    multiple=True,
    help="A router besides thr, as in agg:DIR or pomdp:FILE; repeatable.",
)


@ablate.command("low-budget")
@click.argument("suite")
@policy_option
@click.option(
    "--limit",
    type=float,
    default=0.1,
    show_default=True,
    help="Largest strong share to compare.",
)
@common_options
def low_budget(
    suite: str,
    specs: tuple[str, ...],
    limit: float,
    count: int,
    seed: int,
    out: Path,
    models: Path,
) -> None:
    """Compare routers on a SUITE at a small strong share."""
    trial = Trial(suite, count, seed, models)
    with progress_bar(f"solving {suite}", count, out) as progress:
        page = study_low_budget(trial, specs, out, limit, progress)
    conclude(page, out)


@ablate.command()
@policy_option
@click.option(
    "--suites",
    default=",".join(SUITES),
    show_default=True,
    help="Suites to compare on, with commas.",
)
@common_options
def transfer(
    specs: tuple[str, ...], suites: str, count: int, seed: int, out: Path, models: Path
) -> None:
    """Compare routers with thr on suites that they were not trained on."""
    trials = [Trial(suite, count, seed, models) for suite in dict.fromkeys(suites.split(","))]
    with progress_bar("solving", len(trials) * count, out) as progress:

        def progress_of(trial: Trial) -> Callable[[RunProgress], None]:
            before = trials.index(trial) * count
            return lambda standing: progress(standing.after(before))

        page = study_transfer(trials, specs, out, progress_of)
    conclude(page, out)


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
@common_options
def noise(
    bank: Path,
    suite: str,
    sigmas: str,
    iterations: int | None,
    count: int,
    seed: int,
    out: Path,
    models: Path,
) -> None:
    """Compare thr, pomdp and agg on a SUITE with noise added to the scores.

    pomdp and agg are fitted to the BANK of `trim collect` with the same noise; agg needs the
    extra `train`, and is left out without it.
    """
    levels = parse_sigmas(sigmas)
    recorded = read_bank(bank, models)
    trial = Trial(suite, count, seed, models)
    with progress_bar(f"solving {suite}", len(levels) * count, out) as progress:

        def progress_of(level: int) -> Callable[[RunProgress], None]:
            return lambda standing: progress(standing.after(level * count))

        page = study_noise(recorded, trial, out, levels, make_agg_trainer(iterations), progress_of)
    conclude(page, out)


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
    console.print(f"report  {report}", soft_wrap=True)


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
    if len(banks) > 1 and against:
        raise InvalidInput("--against: goes with one BANK; name the others without it to compare")
    found: Audit | Comparison
    if len(banks) > 1:
        found = compare_audits([(path, read_bank(path)) for path in dict.fromkeys(banks)])
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
        console.print(f"report  {out / FILE_NAME}", soft_wrap=True)
