"""`trim keys`: who may use the server, and for how much."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import Ledger
from trim.server.storage.traffic import delete_traffic

Result = TypeVar("Result")
DATABASE = "trim-server.sqlite"

database_option = click.option(
    "--database",
    default=DATABASE,
    show_default=True,
    envvar="TRIM_DATABASE",
    show_envvar=True,
    help="File for SQLite, or postgresql://user@host/name.",
)


@click.group("keys")
def keys_command() -> None:
    """Create, list and revoke the keys of `trim serve`."""


@keys_command.command()
@click.argument("name")
@click.option("--money-a-day", type=float, help="Money that the key may spend a day (UTC).")
@click.option("--strong-tokens-a-day", type=int, help="Strong tokens that it may spend a day.")
@click.option("--operator", is_flag=True, help="Let it see the traffic of all keys.")
@database_option
def create(
    name: str,
    money_a_day: float | None,
    strong_tokens_a_day: int | None,
    operator: bool,
    database: str,
) -> None:
    """Make a key called NAME and print it: it is shown this once."""

    async def make(keys: Keys) -> str:
        return await keys.create(name, money_a_day, strong_tokens_a_day, operator)

    click.echo(within(database, make, new=True))


@keys_command.command()
@click.argument("name")
@database_option
def revoke(name: str, database: str) -> None:
    """Let the key called NAME hold no longer, at once."""

    async def end(keys: Keys) -> None:
        await keys.revoke(name)

    within(database, end)


@keys_command.command("list")
@database_option
def list_keys(database: str) -> None:
    """Show all keys, their budgets and what they have spent today; never the keys themselves."""

    async def look(keys: Keys) -> list[tuple[UserKey, tuple[float, int]]]:
        ledger = Ledger(keys.engine)
        return [(key, await ledger.spent(key)) for key in await keys.all()]

    table = Table(box=SIMPLE_HEAD)
    for heading in ("name", "begins", "made", "money today", "strong tokens today", "state"):
        table.add_column(heading)
    for key, (money, tokens) in within(database, look):
        table.add_row(
            key.name,
            f"trim-{key.prefix}-",
            datetime.fromtimestamp(key.created, UTC).date().isoformat(),
            of(f"{money:.6g}", key.money_a_day),
            of(str(tokens), key.strong_tokens_a_day),
            state(key),
        )
    Console(highlight=False).print(table)


def state(key: UserKey) -> str:
    if key.revoked is not None:
        return "revoked"
    return "operator" if key.operator else "holds"


def of(spent: str, budget: float | None) -> str:
    return spent if budget is None else f"{spent} of {budget:g}"


def within(database: str, work: Callable[[Keys], Awaitable[Result]], new: bool = False) -> Result:
    """Do something with the keys of a database.

    Args:
        new: make it where it is not there.

    Raises:
        InvalidInput: it cannot be used.
    """

    async def connected() -> Result:
        engine = await open_database(database, new)
        try:
            return await work(Keys(engine))
        finally:
            await engine.dispose()

    return asyncio.run(connected())


DAY = 24 * 3600


@click.group("traffic")
def traffic_command() -> None:
    """The requests that `trim serve` has kept."""


@traffic_command.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    required=True,
    help="Days; 0 for all requests.",
)
@click.option("--key", help="Only requests of the key with this name.")
@database_option
def delete(days: float, key: str | None, database: str) -> None:
    """Delete requests with their steps and texts; what was spent stays in the books."""

    async def remove(keys: Keys) -> int:
        return await delete_traffic(keys.engine, time.time() - DAY * days, key)

    click.echo(f"{within(database, remove)} requests deleted")
