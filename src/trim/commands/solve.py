"""`trim solve`: one problem, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from trim.commands.options import (
    limit_option,
    models_option,
    other_models_option,
    prices_option,
    scorer_option,
    seed_option,
)
from trim.embedded import SAMPLING, load_embedded, usual_kind
from trim.errors import InvalidInput
from trim.evaluation.origin import require_same_models
from trim.policies.registry import parse_policies
from trim.prices import Prices, read_prices
from trim.router import Router
from trim.scorers.choice import choose_scorer, needs_entropy
from trim.terminal import show_events


@click.command()
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
