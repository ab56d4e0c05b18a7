"""`trim solve`: one problem, step by step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from trim.cli.options import (
    check_text,
    choose_prices,
    choose_source,
    configuration_argument,
    limit_option,
    models_option,
    other_models_option,
    prices_option,
    scorer_option,
    seed_option,
    set_option,
)
from trim.cli.solution import show_events
from trim.cli.terminal import new_console
from trim.config import DEFAULT_POLICY
from trim.costs import hidden_strong_usage
from trim.errors import InvalidInput
from trim.evaluation.provenance import require_same_models
from trim.evaluation.verdict import describe_single
from trim.models.prompt import Prompt
from trim.policies.fixed import StrongAlone
from trim.policies.policy import choose_scorer, needs_entropy
from trim.policies.registry import parse_policies
from trim.router import Router


@click.command()
@click.argument("problem", callback=check_text)
@configuration_argument
@click.option(
    "--policy",
    "spec",
    show_default=f"the configuration's, or {DEFAULT_POLICY}",
    help="Routing policy.",
)
@scorer_option
@limit_option
@other_models_option
@seed_option
@click.option(
    "--against-strong",
    "is_compared",
    is_flag=True,
    help="Also solve it with the strong model alone, and compare the total costs.",
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
    """Solve one PROBLEM and print each step as it is decided.

    CONFIG is a configuration file (docs/reference/configuration.md), by default the shipped models.
    """
    source = choose_source(configuration, assignments, models).with_task(Prompt())
    spec = spec or source.policy or DEFAULT_POLICY
    policies = parse_policies(spec)
    if len(policies) != 1:
        raise InvalidInput(f"--policy {spec}: give one setting, as in thr:0.5")
    if not other_models:
        require_same_models(policies, source)
    prices = choose_prices(prices_file, source)
    kind = scorer or source.default_kind
    loaded = source.load(slots=1, entropy=needs_entropy(policies, kind))
    chosen = choose_scorer(policies[0], loaded.scorer_of(kind) if kind else None, loaded.scorers)
    config = source.config
    if max_strong_tokens is not None:
        config = replace(config, max_strong_tokens=max_strong_tokens)
    router = Router.of(loaded, policy=policies[0], scorer=chosen, config=config)
    scope = source.scope()
    if scope and (reason := scope.why_outside(problem)):
        router = router.whole(scope.rest, reason)
    console = new_console()
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
        console.print(compared["verdict"], style="bold", soft_wrap=True)
    else:
        console.print("Add --against-strong to compare with the strong model alone.")


def strong_alone(router: Router) -> Router:
    """The router's strong model alone, without a limit on its tokens."""
    return replace(router, policy=StrongAlone(), scorer=None).with_config(max_strong_tokens=None)
