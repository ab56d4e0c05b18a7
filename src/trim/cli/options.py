"""Options shared by several commands, and the models and prices that they choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from trim.cli.terminal import echo
from trim.configuration.protocol import DEFAULT, find_protocol
from trim.configuration.source import ModelSource, models_in, open_models
from trim.costs import EXAMPLE, Prices, read_prices
from trim.errors import InvalidInput
from trim.files import require_name
from trim.scorers.scorer import KINDS
from trim.shipped import FOLDER

if TYPE_CHECKING:
    from trim.cluster.ray_cluster import RayCluster


class FilePath(click.Path):
    """A path that a file can have. Raises InvalidInput for another one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path)
        return require_name(path)


path_type = FilePath(path_type=Path)

configuration_argument = click.argument(
    "configuration", metavar="[CONFIG]", type=path_type, required=False
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a value of the configuration, as in strong.url=http://host:8000; repeatable.",
)


def check_text(context: click.Context, option: click.Parameter, text: str | None) -> str | None:
    """Raises InvalidInput for bytes of the command line that are no text."""
    if text is not None and any("\ud800" <= each <= "\udfff" for each in text):
        name = option.opts[0] if isinstance(option, click.Option) else option.human_readable_name
        raise InvalidInput(f"{name}: not UTF-8 text")
    return text


def check_limit(context: click.Context, option: click.Parameter, limit: int | None) -> int | None:
    """Raises InvalidInput for a negative number of tokens."""
    if limit is not None and limit < 0:
        raise InvalidInput(f"--max-strong-tokens {limit}: must be 0 or more")
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
    show_default="those of the configuration, else nothing is billed",
    help='JSON file with prices per million tokens, as in {"strong": {"prompt": 1, "output": 4}},'
    " or `example` for an example list.",
)


def check_protocol(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    """Raises InvalidInput for an unknown protocol."""
    return find_protocol(name).name if name else None


protocol_option = click.option(
    "--protocol",
    metavar="NAME",
    callback=check_protocol,
    show_default="the configuration's, or default",
    help="Prompts, stop rules and answer extraction: default, or authors for those of the method's"
    " authors (docs/concepts/protocols.md).",
)
seed_of_run_option = click.option(
    "--seed", type=int, show_default="0, or 10 with the protocol authors", help="Random seed."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
scorer_option = click.option(
    "--scorer",
    type=click.Choice(KINDS),
    show_default="joint if the folder of models has joint.json, else prm",
    help="Kind of score for policies that accept any kind.",
)
limit_option = click.option(
    "--max-strong-tokens",
    type=int,
    callback=check_limit,
    help="Strong tokens per problem after which no step is rewritten; one step may exceed it.",
)


def check_money(
    context: click.Context, option: click.Parameter, money: float | None
) -> float | None:
    """Raises InvalidInput unless the amount is positive."""
    if money is not None and not 0 < money < math.inf:
        raise InvalidInput(f"--max-money {money:g}: must be above 0")
    return money


max_money_option = click.option(
    "--max-money",
    type=float,
    callback=check_money,
    help="Stop starting problems once the total cost, earlier runs included, reaches this amount."
    " Exit code 3; a larger amount continues the run.",
)
ray_option = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Solve on a Ray cluster: auto, HOST:6379, or local (docs/guides/cluster.md).",
)
ray_workers_option = click.option(
    "--ray-workers",
    type=click.IntRange(min=1),
    show_default="one per node",
    help="Worker processes on the cluster.",
)
exact_option = click.option(
    "--exact",
    is_flag=True,
    help="Make runs repeatable to the character; about three times slower.",
)
other_models_option = click.option(
    "--other-models",
    is_flag=True,
    help="Allow fitted policies with models that they were not fitted to.",
)
out_option = click.option("--out", type=path_type, required=True, help="Folder for the results.")


def named_prices(given: Path | None) -> Prices | None:
    """The price list given to `--prices`: a file, or `example`.

    Raises:
        InvalidInput: the file is unreadable or not a price list.
    """
    if given is None:
        return None
    return Prices() if str(given) == EXAMPLE else read_prices(given)


def choose_prices(given: Path | None, source: ModelSource) -> Prices | None:
    """The price list of `--prices`, else the configuration's; None if nothing is billed.

    Warns about hosted models without a price.
    """
    named = named_prices(given)
    if named is None and source.unpriced:
        echo(
            f"trim: warning: no price for {', '.join(source.unpriced)} on a hosted API, so its"
            " tokens are not billed; set `prices` in the configuration, or give --prices FILE",
            err=True,
        )
    return named or source.price_list


def choose_source(
    configuration: Path | None,
    assignments: Sequence[str],
    folder: Path,
    protocol: str | None = None,
) -> ModelSource:
    """The models that a command line selects: a configuration's, or those of a folder.

    Args:
        folder: used without a configuration.
        protocol: overrides the configuration's.

    Raises:
        InvalidInput: an invalid configuration, or options that exclude each other.
    """
    if configuration is None:
        if assignments:
            raise InvalidInput("--set: there is no configuration to change; name one as CONFIG")
        return models_in(folder, protocol or DEFAULT.name)
    if click.get_current_context().get_parameter_source("models") is ParameterSource.COMMANDLINE:
        raise InvalidInput("--models: the configuration names the models; give only one of the two")
    chosen = (f"protocol={protocol}",) if protocol else ()
    return open_models(configuration, (*assignments, *chosen))


def cluster_at(address: str | None, workers: int | None) -> RayCluster | None:
    """None without an address. Raises InvalidInput for --ray-workers without --ray."""
    if address is None:
        if workers is not None:
            raise InvalidInput("--ray-workers: needs --ray ADDRESS")
        return None
    from trim.cluster.ray_cluster import RayCluster

    return RayCluster(address, workers, lambda text: echo(f"trim: warning: {text}", err=True))
