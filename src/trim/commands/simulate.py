"""`trim simulate`: what routers would cost and reach, predicted from a fitted model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trim.evaluation.curve import GAINS
from trim.pomdp.model import read_model
from trim.pomdp.simulate import Draw
from trim.pomdp.simulate import simulate as simulate_model

SHOWN_BUDGETS = (10, 20)
"""Of `trim.evaluation.curve.BUDGETS`, those that a terminal has room for."""


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
