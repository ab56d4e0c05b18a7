"""`trim plan`: the optimal router of a process, with bounds on its value."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from trim.errors import InvalidInput
from trim.pomdp.hazard import read_hazard
from trim.pomdp.model import read_model
from trim.pomdp.observations import read_bins
from trim.pomdp.plan import make_plan
from trim.pomdp.problem import Problem
from trim.pomdp.process import method_process

file_argument = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=file_argument, required=False)
@click.option(
    "--lambda", "price", type=float, help="With MODEL: right answers that a token must bring."
)
@click.option(
    "--observations",
    type=file_argument,
    help="CSV of score bins: min_previous_score,current_score,p_S0,p_S1,p_S2.",
)
@click.option("--hazard", type=file_argument, help="JSON list h(0)..h(30) of ending by step.")
@click.option("--weak-accuracy", type=float, help="p_w, right steps of the weak.")
@click.option("--strong-accuracy", type=float, help="p_s, the same of the strong.")
@click.option("--tokens", type=float, default=60.0, show_default=True, help="Tokens of a rewrite.")
@click.option("--cost", type=float, help="Paid for each token of a rewrite.")
@click.option("--reward", type=float, default=100, show_default=True, help="Of a right answer.")
@click.option("--gap", type=float, help="Wanted between the bounds; without it 1/1000 of R.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(
    model: Path | None,
    price: float | None,
    observations: Path | None,
    hazard: Path | None,
    weak_accuracy: float | None,
    strong_accuracy: float | None,
    tokens: float,
    cost: float | None,
    reward: float,
    gap: float | None,
    as_json: bool,
) -> None:
    """Plan the best router of the method's hidden states, for every belief and step.

    Of MODEL, a file of `trim fit`, at --lambda, where a right answer is worth 1; or of
    published tables, with all of --observations, --hazard, both accuracies and --cost.

    `lower` is what the planned router earns at least, `upper` what no router can exceed, both
    before the first score; `seconds` is the time of planning alone.
    """
    tables = (observations, hazard, weak_accuracy, strong_accuracy, cost)
    if model:
        if price is None or any(value is not None for value in tables):
            raise InvalidInput(f"{model}: needs --lambda, and none of the options for tables")
        problem = read_model(model).problem(price)
    elif (
        price is not None
        or observations is None
        or hazard is None
        or weak_accuracy is None
        or strong_accuracy is None
        or cost is None
    ):
        raise InvalidInput(
            "plan a file of `trim fit` with --lambda, or tables with all of --observations,"
            " --hazard, --weak-accuracy, --strong-accuracy and --cost"
        )
    else:
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
            f"value {found.lower:.4f} to {found.upper:.4f} of {problem.reward:g},"
            f" planned in {figures['seconds']:.2f} s"
        )
