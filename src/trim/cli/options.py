"""Options that several commands have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from trim.configuration.protocol import DEFAULT, find_protocol
from trim.configuration.source import ModelSource, models_in, open_models
from trim.costs import EXAMPLE, Prices, read_prices
from trim.errors import InvalidInput
from trim.scorers.scorer import KINDS
from trim.shipped import FOLDER

path_type = click.Path(path_type=Path)


configuration_argument = click.argument(
    "configuration", metavar="[CONFIG]", type=path_type, required=False
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value of the configuration, as strong.url=http://host:8000; may be given several"
    " times.",
)


def check_limit(context: click.Context, option: click.Parameter, limit: int | None) -> int | None:
    """Raises InvalidInput for a negative number of tokens."""
    if limit is not None and limit < 0:
        raise InvalidInput(f"--max-strong-tokens {limit}: must be a number of tokens from 0 up")
    return limit


models_option = click.option(
    "--models",
    type=path_type,
    default=FOLDER,
    show_default="the shipped models",
    help="Folder with weak.gguf, strong.gguf and scorer.gguf.",
)
prices_option = click.option(
    "--prices",
    "prices_file",
    type=path_type,
    metavar="FILE",
    show_default="the configuration's; without any nothing is billed",
    help='JSON file with prices per million tokens, as {"strong": {"prompt": 1, "output": 4}}, or'
    " `example` for an example list.",
)


def check_protocol(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Raises InvalidInput for an unknown protocol."""
    return find_protocol(name).name if name else None


protocol_option = click.option(
    "--protocol",
    metavar="NAME",
    callback=check_protocol,
    show_default="the configuration's, or default",
    help="Prompts, ends of solutions and where answers stand: default, or authors for those of the"
    " method's authors (docs/protocols.md).",
)
seed_of_run_option = click.option(
    "--seed", type=int, show_default="the protocol's: 0, of authors 10", help="Random seed."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
scorer_option = click.option(
    "--scorer",
    type=click.Choice(KINDS),
    show_default="joint where the models' folder has joint.json, else prm",
    help="What scores steps, for policies that are not made for one kind of score.",
)
limit_option = click.option(
    "--max-strong-tokens",
    type=int,
    callback=check_limit,
    help="Strong tokens a problem, after which the weak model drafts on; one step may pass it.",
)


def check_money(
    context: click.Context, option: click.Parameter, money: float | None
) -> float | None:
    """Raises InvalidInput for what is no amount."""
    if money is not None and not 0 < money < math.inf:
        raise InvalidInput(f"--max-money {money:g}: must be an amount above 0")
    return money


max_money_option = click.option(
    "--max-money",
    type=float,
    callback=check_money,
    help="Begin no further problem once the run has cost so much, those before it included; what is"
    " under way is finished. Ends with code 3, and continues with a larger amount.",
)
ray_option = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Solve on a Ray cluster: auto, host:6379, or local (docs/cluster.md).",
)
ray_workers_option = click.option(
    "--ray-workers",
    type=click.IntRange(min=1),
    show_default="one on each node",
    help="Processes on the cluster.",
)
exact_option = click.option(
    "--exact",
    is_flag=True,
    help="Repeat every character from run to run; takes about three times as long.",
)
other_models_option = click.option(
    "--other-models",
    is_flag=True,
    help="Use fitted policies also with models that they were not fitted to.",
)
out_option = click.option("--out", type=path_type, required=True, help="Folder for the results.")


def named_prices(given: Path | None) -> Prices | None:
    """The price list that `--prices` names: a file, or the example by its name.

    Raises:
        InvalidInput: the file is unreadable or no price list.
    """
    if given is None:
        return None
    return Prices() if str(given) == EXAMPLE else read_prices(given)


def choose_prices(given: Path | None, lineup: ModelSource) -> Prices | None:
    """The price list of a run: that of `--prices`, or else the configuration's.

    Warns of hosted models that are not billed.

    Returns:
        None where nothing is billed.
    """
    named = named_prices(given)
    if named is None and lineup.unpriced:
        click.echo(
            f"trim: warning: no prices are given for {', '.join(lineup.unpriced)} on a hosted API,"
            " so its tokens are not billed; give `prices` in the configuration, or --prices FILE",
            err=True,
        )
    return named or lineup.price_list


def choose_lineup(
    configuration: Path | None,
    assignments: Sequence[str],
    models: Path,
    protocol: str | None = None,
) -> ModelSource:
    """The lineup of a command line.

    Args:
        protocol: in place of the configuration's; None for that.

    Raises:
        InvalidInput: a wrong configuration, or options that do not go together.
    """
    if configuration is None:
        if assignments:
            raise InvalidInput("--set: there is no configuration whose values it could change")
        return models_in(models, protocol or DEFAULT.name)
    if click.get_current_context().get_parameter_source("models") is ParameterSource.COMMANDLINE:
        raise InvalidInput("--models: the configuration names the models; leave one of the two out")
    chosen = (f"protocol={protocol}",) if protocol else ()
    return open_models(configuration, (*assignments, *chosen))


if TYPE_CHECKING:
    from trim.cluster.ray_cluster import RayCluster


def cluster_at(address: str | None, workers: int | None) -> RayCluster | None:
    """None without an address. Raises InvalidInput for workers without a cluster."""
    if address is None:
        if workers is not None:
            raise InvalidInput("--ray-workers: there is no cluster; name one with --ray")
        return None
    from trim.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers)
