"""Options that several commands have."""

from __future__ import annotations

import math
from pathlib import Path

import click

from trim.embedded import FOLDER
from trim.errors import InvalidInput
from trim.protocol import find_protocol
from trim.scorers.choice import KINDS

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
