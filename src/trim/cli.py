"""The command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trim.commands.ablate import ablate
from trim.commands.audit import audit_command
from trim.commands.benchmark import choose_problems, selection_options
from trim.commands.calibrate import calibrate_command
from trim.commands.collect import collect, import_command
from trim.commands.export import export
from trim.commands.fit import fit
from trim.commands.joint import fit_scorer, rescore_command
from trim.commands.plan import plan
from trim.commands.rival import fit_rival_command
from trim.commands.simulate import simulate
from trim.commands.train import train
from trim.embedded import FOLDER, SAMPLING, load_embedded, usual_kind
from trim.errors import InvalidInput, TrimError
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.evaluate import UNGRADED, draw, evaluate, find_suite
from trim.evaluation.origin import require_same_models
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.suites import generate as generate_problems
from trim.policies.registry import parse_policies
from trim.prices import Prices, read_prices
from trim.router import Router
from trim.scorers.choice import KINDS, choose_scorer, needs_entropy
from trim.terminal import (
    comparisons_table,
    curves_table,
    points_table,
    show_events,
    show_warnings,
)

DEMO_POLICIES = ("weak", "strong", "random:0.3", "thr:0.001,0.01,0.1,0.3,0.5,0.7,0.9,0.98")


class TrimGroup(click.Group):
    """Turns every error that a user can mend into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except TrimError as error:
            click.echo(f"trim: {error}", err=True)
            sys.exit(2)


models_option = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default="the shipped models",
    help="Folder with weak.gguf, strong.gguf and scorer.gguf.",
)
prices_option = click.option(
    "--prices",
    "prices_file",
    type=click.Path(path_type=Path),
    help='JSON file with prices per million tokens: {"strong": {"prompt": 1, "output": 4}}.',
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
scorer_option = click.option(
    "--scorer",
    type=click.Choice(KINDS),
    show_default="joint where the models' folder has joint.json, else prm",
    help="What scores steps, for policies that are not made for one kind of score.",
)
limit_option = click.option(
    "--max-strong-tokens",
    type=int,
    help="Strong tokens a problem, after which the weak model drafts on; one step may pass it.",
)
other_models_option = click.option(
    "--other-models",
    is_flag=True,
    help="Use fitted policies also with models that they were not fitted to.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the results."
)


@click.group(cls=TrimGroup)
@click.version_option(package_name="trim")
def main() -> None:
    """Solve problems step by step with a weak and a strong model."""


main.add_command(plan)
main.add_command(fit)
main.add_command(fit_scorer)
main.add_command(rescore_command)
main.add_command(simulate)
main.add_command(collect)
main.add_command(import_command)
main.add_command(fit_rival_command)
main.add_command(train)
main.add_command(calibrate_command)
main.add_command(audit_command)
main.add_command(ablate)
main.add_command(export)


@main.command()
@click.argument("problem")
@click.option(
    "--policy", "spec", default="thr:0.5", show_default=True, help="How steps are routed."
)
@scorer_option
@limit_option
@other_models_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print the trace as JSON.")
@prices_option
@models_option
def solve(
    problem: str,
    spec: str,
    scorer: str | None,
    max_strong_tokens: int | None,
    other_models: bool,
    seed: int,
    as_json: bool,
    prices_file: Path | None,
    models: Path,
) -> None:
    """Solve one PROBLEM and show each step as it is decided."""
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"--policy {spec}: solve takes one setting, as in thr:0.5")
    if not other_models:
        require_same_models(policies, models)
    prices = read_prices(prices_file) if prices_file else Prices()
    kind = scorer or usual_kind(models)
    embedded = load_embedded(models, slots=1, entropy=needs_entropy(policies, kind))
    chosen = choose_scorer(policies[0], embedded.scorer_of(kind), embedded.scorers)
    router = Router(
        embedded.weak,
        embedded.strong,
        chosen,
        policies[0],
        SAMPLING,
        max_strong_tokens=max_strong_tokens,
    )
    if as_json:
        trace = router.solve(problem, seed)
        click.echo(json.dumps({**trace.to_json(), "money": prices.of(trace)}, indent=2))
    else:
        show_events(Console(highlight=False), router.events(problem, seed), prices)


@main.command()
@click.argument("suite")
@click.option(
    "-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="How many."
)
@seed_option
def generate(suite: str, count: int, seed: int) -> None:
    """Print problems of a SUITE with their reference steps, as JSON lines."""
    for problem in generate_problems(find_suite(suite), count, seed):
        record = {
            "id": problem.id,
            "suite": problem.suite,
            "question": problem.question,
            "steps": problem.steps,
            "answer": problem.answer,
        }
        click.echo(json.dumps(record))


@main.command("eval")
@click.argument("suite")
@click.option(
    "-n",
    "count",
    type=int,
    show_default="500; of a benchmark or file all",
    help="How many problems.",
)
@click.option(
    "--policy",
    "specs",
    multiple=True,
    default=DEMO_POLICIES,
    show_default=True,
    help="A policy with its settings, as thr:0.3,0.5; may be given several times.",
)
@selection_options
@scorer_option
@click.option(
    "--exact",
    is_flag=True,
    help="Repeat every character from run to run; takes about three times as long.",
)
@limit_option
@other_models_option
@seed_option
@out_option
@prices_option
@models_option
def evaluate_command(
    suite: str,
    count: int | None,
    selection: Selection,
    specs: tuple[str, ...],
    scorer: str | None,
    exact: bool,
    max_strong_tokens: int | None,
    other_models: bool,
    seed: int,
    out: Path,
    prices_file: Path | None,
    models: Path,
) -> None:
    """Solve problems of a SUITE with several policies and compare them.

    SUITE is a suite of generated problems, a benchmark (math500, aime, olympiadbench, minerva,
    gsm8k, gpqa), or a .jsonl, .parquet or .csv file with --question and --answer.

    Interrupted, the same command continues where it stopped.
    """
    run_evaluation(
        choose_problems(suite, count, seed, selection),
        specs,
        seed,
        out,
        prices_file,
        models,
        scorer,
        exact,
        max_strong_tokens,
        other_models,
    )


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Results.",
)
@models_option
def demo(out: Path, models: Path) -> None:
    """Solve one hard problem live, then run a small evaluation."""
    console = Console(highlight=False)
    embedded = load_embedded(models, slots=1)
    (policy,) = parse_policies("thr:0.5")
    router = Router(embedded.weak, embedded.strong, embedded.scorer, policy, SAMPLING)
    problem = next(generate_problems(find_suite("chain-hard"), 1, seed=1))
    console.print(f"[bold]{problem.question}[/bold]\n")
    show_events(console, router.events(problem.question), Prices())
    console.print(f"Reference answer: [bold]{problem.answer}[/bold]\n")
    run_evaluation(draw("chain", 100, 0), DEMO_POLICIES, 0, out, None, models)


def run_evaluation(
    problem_set: ProblemSet,
    specs: tuple[str, ...],
    seed: int,
    out: Path,
    prices_file: Path | None,
    models: Path,
    scorer: str | None = None,
    exact: bool = False,
    max_strong_tokens: int | None = None,
    other_models: bool = False,
) -> None:
    prices = read_prices(prices_file) if prices_file else Prices()
    console = Console(highlight=False)
    bar = Progress(
        TextColumn(f"solving {problem_set.name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        with bar:
            task = bar.add_task("", total=len(problem_set.problems))
            summary = evaluate(
                problem_set,
                specs,
                seed,
                out,
                prices,
                models,
                lambda finished: bar.update(task, completed=finished),
                scorer,
                exact,
                max_strong_tokens,
                other_models,
            )
    except KeyboardInterrupt:
        click.echo(f"trim: interrupted; the same command continues from {out}", err=True)
        sys.exit(130)
    console.print(points_table(summary))
    if summary["curves"]:
        console.print(curves_table(summary))
    if any(pair["b"] == "thr" for pair in summary["comparisons"]):
        console.print(comparisons_table(summary, "thr"))
    show_warnings(console, summary)
    if (out / UNGRADED).exists():
        lines = (out / UNGRADED).read_text(encoding="utf-8").count("\n")
        console.print(f"{lines} answers could not be graded and count as wrong: {out / UNGRADED}")
    console.print(f"picture {out / 'curve.png'}\nreport  {out / 'report.html'}", soft_wrap=True)
