"""`trim solve`: one problem, step by step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from trim.commands.lineup import choose_lineup
from trim.commands.options import (
    configuration_argument,
    limit_option,
    models_option,
    other_models_option,
    prices_option,
    scorer_option,
    seed_option,
    set_option,
)
from trim.errors import InvalidInput
from trim.evaluation.origin import require_same_models
from trim.lineup import router_of
from trim.policies.registry import parse_policies
from trim.prices import read_prices
from trim.scorers.choice import choose_scorer, needs_entropy
from trim.terminal import show_events

USUAL_POLICY = "thr:0.5"


@click.command()
@click.argument("problem")
@configuration_argument
@click.option(
    "--policy",
    "spec",
    show_default=f"the configuration's, or {USUAL_POLICY}",
    help="How steps are routed.",
)
@scorer_option
@limit_option
@other_models_option
@seed_option
@click.option("--json", "as_json", is_flag=True, help="Print the trace as JSON.")
@prices_option
@models_option
@set_option
def solve(
    problem: str,
    configuration: Path | None,
    spec: str | None,
    scorer: str | None,
    max_strong_tokens: int | None,
    other_models: bool,
    seed: int,
    as_json: bool,
    prices_file: Path | None,
    models: Path,
    assignments: tuple[str, ...],
) -> None:
    """Solve one PROBLEM and show each step as it is decided.

    CONFIG is a configuration file (docs/configuration.md); without one the shipped models solve.
    """
    lineup = choose_lineup(configuration, assignments, models)
    spec = spec or lineup.policy or USUAL_POLICY
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"--policy {spec}: solve takes one setting, as in thr:0.5")
    if not other_models:
        require_same_models(policies, lineup)
    prices = read_prices(prices_file) if prices_file else lineup.prices
    kind = scorer or lineup.usual_kind
    team = lineup.load(slots=1, entropy=needs_entropy(policies, kind))
    chosen = choose_scorer(policies[0], team.scorer_of(kind) if kind else None, team.scorers)
    settings = lineup.settings
    if max_strong_tokens is not None:
        settings = replace(settings, max_strong_tokens=max_strong_tokens)
    router = router_of(team, settings, chosen, policies[0])
    if as_json:
        trace = router.solve(problem, seed)
        click.echo(json.dumps({**trace.to_json(), "money": prices.of(trace)}, indent=2))
    else:
        show_events(Console(highlight=False), router.events(problem, seed), prices)
