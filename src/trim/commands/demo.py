"""`trim demo`: what routing does, in a minute."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from trim.commands.evaluate import DEMO_POLICIES, run_evaluation
from trim.commands.options import models_option, path_type
from trim.embedded.lineup import EmbeddedLineup
from trim.evaluation.evaluate import draw, find_suite
from trim.evaluation.suites import generate as generate_problems
from trim.lineup import router_of
from trim.policies.registry import parse_policies
from trim.terminal import show_events


@click.command()
@click.option(
    "--out",
    type=path_type,
    default=Path("demo"),
    show_default=True,
    help="Results.",
)
@models_option
def demo(out: Path, models: Path) -> None:
    """Solve one hard problem live, then run a small evaluation."""
    console = Console(highlight=False)
    lineup = EmbeddedLineup(models)
    embedded = lineup.load(slots=1)
    (policy,) = parse_policies("thr:0.5")
    router = router_of(embedded, lineup.settings, embedded.scorer, policy)
    problem = next(generate_problems(find_suite("chain-hard"), 1, seed=1))
    console.print(f"[bold]{problem.question}[/bold]\n")
    show_events(console, router.events(problem.question), None)
    console.print(f"Reference answer: [bold]{problem.answer}[/bold]\n")
    run_evaluation(draw("chain", 100, 0), DEMO_POLICIES, 0, out, None, lineup)
