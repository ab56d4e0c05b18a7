"""The POMDP router before any model runs: `trim plan` and `trim simulate`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from trim.cli.options import path_type
from trim.cli.output import new_table
from trim.cli.terminal import echo, new_console
from trim.errors import InvalidInput
from trim.metrics.curve import GAINS
from trim.policies.pomdp.model import read_model
from trim.policies.pomdp.observations import read_bins
from trim.policies.pomdp.plan import make_plan
from trim.policies.pomdp.process import RoutingProblem, process_from_accuracies, read_hazard
from trim.policies.pomdp.simulate import Draw
from trim.policies.pomdp.simulate import simulate as simulate_model


@click.command()
@click.argument("model", type=path_type, required=False)
@click.option("--lambda", "price", type=float, help="With MODEL: right answers per strong token.")
@click.option(
    "--observations",
    type=path_type,
    help="CSV of score bins: min_previous_score,current_score,p_S0,p_S1,p_S2.",
)
@click.option(
    "--hazard", type=path_type, help="JSON list h(0)..h(30), the hazard of ending by step."
)
@click.option("--weak-accuracy", type=float, help="p_w, the weak model's share of right steps.")
@click.option("--strong-accuracy", type=float, help="p_s, the strong model's share of right steps.")
@click.option("--tokens", type=float, default=60.0, show_default=True, help="Tokens per rewrite.")
@click.option("--cost", type=float, help="Cost per token of a rewrite.")
@click.option(
    "--reward", type=float, default=100, show_default=True, help="Reward of a right answer."
)
@click.option(
    "--gap",
    type=float,
    show_default="1/1000 of the reward",
    help="Largest gap between the bounds.",
)
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
    """Compute the optimal POMDP router and bounds on its value.

    The plan is for MODEL, a file of `trim fit`, at --lambda, where a right answer is worth 1; or
    for published tables, with all of --observations, --hazard, both accuracies and --cost.

    In the output, `lower` is the expected value of the plan at least, `upper` a bound for every
    router, both before the first score; `seconds` is the planning time.
    """
    tables = (observations, hazard, weak_accuracy, strong_accuracy, cost)
    if model:
        if price is None or any(value is not None for value in tables):
            raise InvalidInput(f"{model}: give --lambda, and none of the options for tables")
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
            "give a file of `trim fit` with --lambda, or tables with all of --observations,"
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
        echo(
            f"value {found.lower:.4f} to {found.upper:.4f} of {problem.reward:g},"
            f" planned in {figures['seconds']:.2f} s"
        )


SHOWN_BUDGETS = (10, 20)
"""Those of `trim.metrics.curve.BUDGETS` that fit the table."""


@click.command()
@click.argument("model", type=path_type)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 1_000_000),
    default=20_000,
    show_default=True,
    help="Number of problems.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--draw",
    type=click.Choice([str(draw) for draw in Draw]),
    default=str(Draw.SCORES),
    show_default=True,
    help="Draw each step's score, or its pair with the lowest earlier score.",
)
@click.option("--json", "as_json", is_flag=True, help="Print points and curves as JSON.")
def simulate(model: Path, count: int, seed: int, draw: str, as_json: bool) -> None:
    """Predict each router's curve from a fitted MODEL.

    MODEL is a file of `trim fit`; no language model runs. The row `limit` bounds the strong share
    of every router that decides from these scores.
    """
    found = simulate_model(read_model(model), count, seed, Draw(draw))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = new_console()
    console.print(prediction_table(found))
    console.print(
        f"weak {found['weak_accuracy']:.1%}, strong {found['strong_accuracy']:.1%} of"
        f" {count} problems, {found['strong_tokens_mean']:.0f} strong tokens alone"
    )


def prediction_table(found: Mapping[str, Any]) -> Table:
    """The predicted metrics, one policy family per row."""
    table = new_table(
        "predicted strong share (CPT) and accuracy at a budget",
        "policy",
        *(f"CPT\n{gain} %" for gain in GAINS),
        *("Δ-IBC", "APGR"),
        *(f"at\n{budget} %" for budget in SHOWN_BUDGETS),
    )
    for family, curve in found["curves"].items():
        cells = [format_figure(curve["cpt"][str(gain)], ".1%") for gain in GAINS]
        cells += [format_figure(curve["delta_ibc"], ".2f"), format_figure(curve["apgr"], ".3f")]
        budgeted = curve["budgeted_accuracy"]
        cells += [
            format_figure(budgeted[str(budget)]["accuracy"], ".1%") for budget in SHOWN_BUDGETS
        ]
        table.add_row(family, *cells)
    limit = found["limit"]
    cells = [format_figure(limit[str(gain)], ".1%") for gain in GAINS]
    table.add_row("limit", *cells, format_figure(limit["delta_ibc"], ".2f"))
    return table


def format_figure(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
