"""`trim plan`: the optimal router of a process, with bounds on its value."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from trim.pomdp.hazard import read_hazard
from trim.pomdp.observations import read_bins
from trim.pomdp.plan import make_plan
from trim.pomdp.problem import Problem
from trim.pomdp.process import method_process

file_argument = click.Path(path_type=Path)


@click.command()
@click.option(
    "--observations",
    type=file_argument,
    required=True,
    help="CSV of score bins: min_previous_score,current_score,p_S0,p_S1,p_S2.",
)
@click.option(
    "--hazard", type=file_argument, required=True, help="JSON list h(0)..h(30) of ending by step."
)
@click.option("--weak-accuracy", type=float, required=True, help="p_w, right steps of the weak.")
@click.option("--strong-accuracy", type=float, required=True, help="p_s, the same of the strong.")
@click.option("--tokens", type=float, default=60, show_default=True, help="Tokens of a rewrite.")
@click.option("--cost", type=float, required=True, help="Paid for each token of a rewrite.")
@click.option("--reward", type=float, default=100, show_default=True, help="Of a right answer.")
@click.option("--gap", type=float, help="Wanted between the bounds; without it 1/1000 of R.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(
    observations: Path,
    hazard: Path,
    weak_accuracy: float,
    strong_accuracy: float,
    tokens: float,
    cost: float,
    reward: float,
    gap: float | None,
    as_json: bool,
) -> None:
    """Plan the best router of the method's hidden states, for every belief and step.

    `lower` is what the planned router earns at least, `upper` what no router can exceed, both
    before the first score; `seconds` is the time of planning alone.
    """
    process = method_process(weak_accuracy, strong_accuracy, read_hazard(hazard), tokens)
    symbols = read_bins(observations).pairs.reshape(-1, 3)
    problem = Problem(process, symbols, cost, reward)
    started = time.perf_counter()
    found = make_plan(problem, gap)
    figures = {
        "lower": found.lower,
        "upper": found.upper,
        "gap": found.upper - found.lower,
        "seconds": time.perf_counter() - started,
    }
    if as_json:
        click.echo(json.dumps(figures))
    else:
        click.echo(
            f"value {found.lower:.4f} to {found.upper:.4f} of {reward:g},"
            f" planned in {figures['seconds']:.2f} s"
        )
