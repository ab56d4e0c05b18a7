"""`trim solve`: one problem, step by step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from trim.cli.options import (
    choose_lineup,
    choose_prices,
    configuration_argument,
    limit_option,
    models_option,
    other_models_option,
    prices_option,
    scorer_option,
    seed_option,
    set_option,
)
from trim.cli.output import show_events
from trim.config import DEFAULT_POLICY
from trim.costs import hidden_strong_usage
from trim.errors import InvalidInput
from trim.evaluation.cost_report import describe_single
from trim.evaluation.provenance import require_same_models
from trim.models.prompt import Prompt
from trim.policies.fixed import StrongAlone
from trim.policies.policy import choose_scorer, needs_entropy
from trim.policies.registry import parse_policies
from trim.router import Router


@click.command()
@click.argument("problem")
@configuration_argument
@click.option(
    "--policy",
    "spec",
    show_default=f"the configuration's, or {DEFAULT_POLICY}",
    help="How steps are routed.",
)
@scorer_option
@limit_option
@other_models_option
@seed_option
@click.option(
    "--against-strong",
    "is_compared",
    is_flag=True,
    help="Solve it by the strong model alone as well, and compare what both cost in all.",
)
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
    is_compared: bool,
    as_json: bool,
    prices_file: Path | None,
    models: Path,
    assignments: tuple[str, ...],
) -> None:
    """Solve one PROBLEM and show each step as it is decided.

    CONFIG is a configuration file (docs/configuration.md); without one the shipped models solve.
    """
    lineup = choose_lineup(configuration, assignments, models).with_task(Prompt())
    spec = spec or lineup.policy or DEFAULT_POLICY
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"--policy {spec}: solve takes one setting, as in thr:0.5")
    if not other_models:
        require_same_models(policies, lineup)
    prices = choose_prices(prices_file, lineup)
    kind = scorer or lineup.default_kind
    team = lineup.load(slots=1, entropy=needs_entropy(policies, kind))
    chosen = choose_scorer(policies[0], team.scorer_of(kind) if kind else None, team.scorers)
    config = lineup.config
    if max_strong_tokens is not None:
        config = replace(config, max_strong_tokens=max_strong_tokens)
    router = Router.of(team, policy=policies[0], scorer=chosen, config=config)
    console = Console(highlight=False)
    if as_json:
        trace = router.solve(problem, seed)
    else:
        trace = show_events(console, router.events(problem, seed), prices)
    compared = None
    if is_compared:
        compared = describe_single(trace, strong_alone(router).solve(problem, seed), prices)
    if as_json:
        hidden = hidden_strong_usage(trace)
        record = {
            **trace.to_json(),
            "money": prices.of(trace) if prices else None,
            "hidden_strong_tokens": {"read": hidden.prompt_tokens, "written": hidden.tokens},
            "against_strong": compared,
        }
        click.echo(json.dumps(record, indent=2))
    elif compared:
        console.print(escape(compared["verdict"]), style="bold", soft_wrap=True)
    else:
        console.print("With --against-strong this is compared with the strong model alone.")


def strong_alone(router: Router) -> Router:
    """The strong model of a router by itself, without a limit on its tokens."""
    return replace(router, policy=StrongAlone(), scorer=None).with_config(max_strong_tokens=None)
