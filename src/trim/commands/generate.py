"""`trim generate`: problems of a suite."""

from __future__ import annotations

import json

import click

from trim.commands.options import seed_option
from trim.evaluation.evaluate import find_suite
from trim.evaluation.suites import generate as generate_problems


@click.command()
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
