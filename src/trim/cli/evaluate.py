"""Evaluation: `trim eval`, `trim demo` and `trim generate`."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.text import Text

from trim.cli.options import choose_prices, models_option, path_type, seed_option
from trim.cli.output import (
    comparisons_table,
    curves_table,
    points_table,
    show_costs,
    show_warnings,
)
from trim.cli.progress import progress_bar
from trim.cli.run_arguments import Decorator, RunArguments, run_arguments
from trim.cli.solution import show_events
from trim.cli.terminal import new_console
from trim.config import DEFAULT_POLICY
from trim.configuration.source import ModelSource, models_in
from trim.errors import InvalidInput
from trim.evaluation.bill import cost_limit_error
from trim.evaluation.cost_axes import AXES, STRONG_TOKENS
from trim.evaluation.evaluate import MOST_PROBLEMS, UNGRADED, RunOptions, draw, evaluate, find_suite
from trim.evaluation.execution import RemoteExecutor
from trim.evaluation.problem_set import ProblemSet
from trim.evaluation.suites import generate as generate_problems
from trim.files import read_bytes
from trim.policies.registry import describe_families
from trim.router import Router
from trim.terminal import one_line

DEMO_POLICIES = ("weak", "strong", "random:0.3", "thr:0.001,0.01,0.1,0.3,0.5,0.7,0.9,0.98")


class EvaluateCommand(click.Command):
    """Lists the policies at the end of its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Policies"):
            formatter.write_dl(list(describe_families()))


@click.command("eval", cls=EvaluateCommand)
@click.argument("suite")
@click.option(
    "--policy",
    "specs",
    multiple=True,
    show_default="weak, strong and the configuration's, or a sweep of thr",
    help="A policy with its settings, as in thr:0.3,0.5; repeatable.",
)
@click.option(
    "--cost",
    "cost",
    type=click.Choice([*AXES]),
    default=STRONG_TOKENS.name,
    show_default=True,
    help="Unit of cost of the table of CPT and Δ-IBC; report and summary.json have all of them"
    " (docs/concepts/metrics.md).",
)
@run_arguments()
def evaluate_command(suite: str, specs: tuple[str, ...], cost: str, run: RunArguments) -> None:
    """Compare policies on a suite or benchmark.

    SUITE is a suite of generated problems, a benchmark (math500, aime, olympiadbench, minerva,
    gsm8k, gpqa), or a .jsonl, .parquet or .csv file with --question and --answer.

    CONFIG is a configuration file (docs/reference/configuration.md), by default the shipped models.

    An interrupted command continues where it stopped.
    """
    if AXES[cost].needs_prices and run.options.prices is None:
        raise InvalidInput(f"--cost {cost}: needs prices; add --prices FILE or --prices example")
    source = run.source
    own = ("weak", "strong", *([source.policy] if source.policy else []))
    run_evaluation(
        run.problems(suite),
        specs or (own if run.has_configuration else DEMO_POLICIES),
        source,
        run.out,
        run.options,
        run.executor,
        cost,
    )


def run_evaluation(
    problem_set: ProblemSet,
    specs: tuple[str, ...],
    source: ModelSource,
    out: Path,
    options: RunOptions,
    executor: RemoteExecutor | None = None,
    cost: str = STRONG_TOKENS.name,
) -> None:
    console = new_console()
    with progress_bar(f"solving {problem_set.name}", len(problem_set.problems), out) as progress:
        summary = evaluate(problem_set, specs, source, out, options, progress, executor).summary
    console.print(points_table(summary))
    if summary["curves"]:
        console.print(curves_table(summary, cost))
    if any(pair["b"] == "thr" for pair in summary["comparisons"]):
        console.print(comparisons_table(summary, "thr"))
    show_warnings(console, summary)
    if (out / UNGRADED).exists():
        lines = read_bytes(out / UNGRADED, largest=None).count(b"\n")
        path = one_line(str(out / UNGRADED))
        console.print(f"{lines} answers could not be graded and count as wrong: {path}")
    for kind, name in (("picture", "curve.png"), ("report ", "report.html")):
        console.print(one_line(f"{kind} {out / name}"), soft_wrap=True)
    show_costs(console, summary)
    if partial := summary.get("partial"):
        raise cost_limit_error(partial["money"], summary["n"], partial["of"])


def number_option(default: int, shown: str) -> Decorator:
    """The option -n of a command on a suite."""
    return click.option(
        "-n",
        "count",
        type=click.IntRange(1, MOST_PROBLEMS),
        default=default,
        show_default=True,
        help=shown,
    )


@click.command()
@click.option(
    "--out",
    type=path_type,
    default=Path("demo"),
    show_default=True,
    help="Folder for the results.",
)
@number_option(100, "Number of problems of the evaluation.")
@models_option
def demo(out: Path, count: int, models: Path) -> None:
    """Solve one hard problem live, then run a small evaluation."""
    console = new_console()
    source = models_in(models)
    loaded = source.load(slots=1)
    router = Router.of(loaded, policy=DEFAULT_POLICY, config=source.config)
    problem = next(generate_problems(find_suite("chain-hard"), 1, seed=1))
    console.print(problem.question, style="bold", end="\n\n")
    show_events(console, router.events(problem.question), None)
    console.print(Text("Reference answer: ").append(problem.answer, "bold"), end="\n\n")
    options = RunOptions(prices=choose_prices(None, source))
    run_evaluation(draw("chain", count, 0), DEMO_POLICIES, source, out, options)


@click.command()
@click.argument("suite")
@number_option(10, "Number of problems.")
@seed_option
def generate(suite: str, count: int, seed: int) -> None:
    """Print problems of a SUITE as JSON lines.

    Each has its question, answer and reference steps.
    """
    for problem in generate_problems(find_suite(suite), count, seed):
        record = {
            "id": problem.id,
            "suite": problem.suite,
            "question": problem.question,
            "steps": problem.steps,
            "answer": problem.answer,
        }
        click.echo(json.dumps(record))
