"""`trim train`: the learned routers, from a bank of traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from trim.bank.bank import read_bank
from trim.errors import InvalidInput, ModelUnavailable
from trim.policies.learned import write_router

FAMILIES = ("agg", "seq")
ADVANTAGES = ("branches", "episodes")


@click.command()
@click.argument("family", type=click.Choice(FAMILIES))
@click.argument("bank", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write, for --policy FAMILY:FOLDER.",
)
@click.option(
    "--lambda",
    "price",
    type=float,
    help="Train for this price alone, in right answers a strong token; default: all of them.",
)
@click.option(
    "--product", is_flag=True, help="agg: one more feature, the product of earlier scores."
)
@click.option(
    "--plain-scores", is_flag=True, help="Read scores as the method does, not as log-odds."
)
@click.option(
    "--advantage",
    type=click.Choice(ADVANTAGES),
    default=ADVANTAGES[0],
    show_default=True,
    help="Exact, from what both actions led to in the bank; or estimated from episodes.",
)
@click.option("--iterations", type=click.IntRange(min=1), help="Rounds of learning, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
def train(
    family: str,
    bank: Path,
    out: Path,
    price: float | None,
    product: bool,
    plain_scores: bool,
    advantage: str,
    iterations: int | None,
    seed: int,
) -> None:
    """Train the router agg or seq by PPO on a BANK of `trim collect`.

    One run gives the whole curve, as lambda is an input of the network.
    """
    if product and family != "agg":
        raise InvalidInput(f"--product: a feature of agg, and {family} has none of that name")
    if price is not None and not 0 < price <= 1:
        raise InvalidInput(
            f"--lambda {price:g}: a price in right answers a strong token lies above 0 and up"
            " to 1, as in 0.004"
        )
    recorded = read_bank(bank)
    forest = recorded.forest()
    try:
        from trim.learning.ppo import USUAL, Advantage
        from trim.learning.ppo import train as train_router
    except ImportError as error:
        raise ModelUnavailable(
            f"training needs {error.name}: pip install 'trim[training]'"
        ) from error
    arguments = replace(
        USUAL[family],
        product=product,
        odds=not plain_scores,
        price=price,
        advantage=Advantage(advantage),
        seed=seed,
    )
    if iterations is not None:
        arguments = replace(arguments, iterations=iterations)
    trained = train_router(forest, arguments)
    router = trained.router(recorded.identity.scorer, recorded.identity.models)
    write_router(out, router, recorded.seen)
    gain = trained.curve.delta_ibc()
    click.echo(
        f"{out}: {family}, {trained.iterations} rounds on {len(forest.roots)} problems, lambda"
        f" {trained.range.lowest:g} to {trained.range.highest:g}, Δ-IBC"
        f" {'none' if gain is None else format(gain, '.2f')} on the problems held out;"
        f" use it as --policy {family}:{out}"
    )
