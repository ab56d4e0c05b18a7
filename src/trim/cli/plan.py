"""`trim plan`: the optimal router of a process, with bounds on its value."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trim.errors import InvalidInput
from trim.metrics.curve import GAINS
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.observations import read_bins
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.process import RoutingProblem, process_from_accuracies, read_hazard
from trim.policies.pomdp.simulate import Draw
from trim.policies.pomdp.simulate import simulate as simulate_model

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
        process = process_from_accuracies(
            weak_accuracy, strong_accuracy, read_hazard(hazard), tokens
        )
        observation_model = read_bins(observations).pairs.reshape(-1, 3)
        problem = RoutingProblem(process, observation_model, cost, reward)
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


SHOWN_BUDGETS = (10, 20)
"""Of `trim.metrics.curve.BUDGETS`, those that a terminal has room for."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-n", "count", type=int, default=20_000, show_default=True, help="How many problems.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--draw",
    type=click.Choice([str(draw) for draw in Draw]),
    default=str(Draw.SCORES),
    show_default=True,
    help="Whether each step's score is drawn, or its pair with the lowest earlier one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print points and curves as JSON.")
def simulate(model: Path, count: int, seed: int, draw: str, as_json: bool) -> None:
    """Predict every router's curve from MODEL, a file of `trim fit`, without any model.

    The row `limit` is what no router that decides from these scores can go below.
    """
    found = simulate_model(read_model(model), count, seed, Draw(draw))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console(highlight=False)
    console.print(curves_of(found))
    console.print(
        f"weak {found['weak_accuracy']:.1%}, strong {found['strong_accuracy']:.1%} of"
        f" {count} problems, {found['strong_tokens_mean']:.0f} strong tokens alone"
    )


def curves_of(found: Mapping[str, Any]) -> Table:
    table = Table(title="predicted", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("policy", no_wrap=True)
    headings = [f"CPT {gain}" for gain in GAINS]
    for heading in (*headings, "Δ-IBC", "APGR", *(f"at {budget}%" for budget in SHOWN_BUDGETS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for family, curve in found["curves"].items():
        cells = [shown(curve["cpt"][str(gain)], ".1%") for gain in GAINS]
        cells += [shown(curve["delta_ibc"], ".2f"), shown(curve["apgr"], ".3f")]
        budgeted = curve["budgeted_accuracy"]
        cells += [shown(budgeted[str(budget)]["accuracy"], ".1%") for budget in SHOWN_BUDGETS]
        table.add_row(family, *cells)
    limit = found["limit"]
    cells = [shown(limit[str(gain)], ".1%") for gain in GAINS]
    table.add_row("limit", *cells, shown(limit["delta_ibc"], ".2f"))
    return table


def shown(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
