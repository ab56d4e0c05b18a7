"""Arguments of a run on problems, for `trim eval` and the studies of `trim ablate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trim.cli.options import (
    choose_prices,
    choose_source,
    cluster_at,
    configuration_argument,
    exact_option,
    limit_option,
    max_money_option,
    models_option,
    other_models_option,
    out_option,
    prices_option,
    protocol_option,
    ray_option,
    ray_workers_option,
    scorer_option,
    seed_of_run_option,
    set_option,
)
from trim.cli.problems import choose_problems, count_option, selection_options
from trim.configuration.source import ModelSource
from trim.evaluation.benchmarks.selection import Selection
from trim.evaluation.evaluate import RunOptions
from trim.evaluation.problem_set import ProblemSet

if TYPE_CHECKING:
    from trim.cluster.ray_cluster import RayCluster

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

seen_option = click.option(
    "--seen",
    is_flag=True,
    help="Allow policies that were fitted to some of these problems; they are marked.",
)
OPTIONS: dict[str, Decorator] = {
    "configuration": configuration_argument,
    "count": count_option,
    "selection": selection_options,
    "scorer": scorer_option,
    "exact": exact_option,
    "max_strong_tokens": limit_option,
    "max_money": max_money_option,
    "ray": ray_option,
    "ray_workers": ray_workers_option,
    "other_models": other_models_option,
    "seen": seen_option,
    "protocol": protocol_option,
    "seed": seed_of_run_option,
    "out": out_option,
    "prices_file": prices_option,
    "models": models_option,
    "assignments": set_option,
}
"""By the name of the parameter, in the order of the help."""


@dataclass(frozen=True)
class RunArguments:
    """The models, the options and the folder of a run, from a command line.

    Attributes:
        count: number of problems; None for the default.
        has_configuration: whether a configuration was named; else the models are a folder's.
        executor: None for this process.
    """

    source: ModelSource
    options: RunOptions
    selection: Selection
    count: int | None
    out: Path
    has_configuration: bool
    executor: RayCluster | None

    def problems(self, name: str) -> ProblemSet:
        """The chosen problems of a suite, a benchmark or a file.

        Raises:
            InvalidInput: as `choose_problems`.
        """
        shuffles = self.source.protocol.shuffles
        return choose_problems(name, self.count, self.options.seed, self.selection, shuffles)


def run_arguments(*without: str) -> Decorator:
    """Add the argument CONFIG and the options of a run, passed to the command as `run`.

    Args:
        without: parameters of `OPTIONS` that the command does not take.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_run(**given: Any) -> Any:
            named = {name: given.pop(name, None) for name in OPTIONS}
            return command(run=read_run(**named), **given)

        decorated: Callable[..., Any] = with_run
        for name, option in reversed(OPTIONS.items()):
            if name not in without:
                decorated = option(decorated)
        return decorated

    return decorate


def read_run(
    configuration: Path | None,
    count: int | None,
    selection: Selection,
    scorer: str | None,
    exact: bool,
    max_strong_tokens: int | None,
    max_money: float | None,
    ray: str | None,
    ray_workers: int | None,
    other_models: bool,
    seen: bool,
    protocol: str | None,
    seed: int | None,
    out: Path,
    prices_file: Path | None,
    models: Path,
    assignments: tuple[str, ...],
) -> RunArguments:
    """Read the values of `OPTIONS`. Raises InvalidInput if they do not fit together."""
    source = choose_source(configuration, assignments, models, protocol)
    options = RunOptions(
        seed=source.protocol.seed if seed is None else seed,
        scorer=scorer,
        exact=exact,
        max_strong_tokens=max_strong_tokens,
        prices=choose_prices(prices_file, source),
        max_money=max_money,
        allow_other_models=other_models,
        allow_seen=seen,
    )
    executor = cluster_at(ray, ray_workers)
    return RunArguments(source, options, selection, count, out, configuration is not None, executor)
