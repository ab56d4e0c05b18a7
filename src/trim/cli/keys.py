"""The server's database: `trim keys` and `trim traffic`."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import click

from trim.cli.options import check_text
from trim.cli.output import new_table
from trim.cli.terminal import new_console
from trim.errors import InvalidInput
from trim.server.errors import APIError
from trim.server.storage.database import DATABASE_ERRORS, open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import Ledger
from trim.server.storage.traffic import count_traffic, delete_traffic

Result = TypeVar("Result")
DEFAULT_DATABASE = "trim-server.sqlite"

database_option = click.option(
    "--database",
    default=DEFAULT_DATABASE,
    show_default=True,
    envvar="TRIM_DATABASE",
    show_envvar=True,
    help="File for SQLite, or postgresql://user@host/name.",
)


@click.group("keys")
def keys_command() -> None:
    """Manage the API keys of `trim serve`."""


@keys_command.command()
@click.argument("name")
@click.option("--money-a-day", type=float, help="Budget of money per day (UTC).")
@click.option("--strong-tokens-a-day", type=int, help="Budget of strong tokens per day (UTC).")
@click.option("--operator", is_flag=True, help="Grant access to the traffic of all keys.")
@database_option
def create(
    name: str,
    money_a_day: float | None,
    strong_tokens_a_day: int | None,
    operator: bool,
    database: str,
) -> None:
    """Create the key NAME and print it; it is never shown again."""

    async def make(keys: Keys) -> str:
        return await keys.create(name, money_a_day, strong_tokens_a_day, operator)

    click.echo(use_keys(database, make, new=True))


@keys_command.command()
@click.argument("name")
@database_option
def revoke(name: str, database: str) -> None:
    """Revoke the key NAME immediately."""

    async def end(keys: Keys) -> None:
        await keys.revoke(name)

    use_keys(database, end)


@keys_command.command("list")
@database_option
def list_keys(database: str) -> None:
    """List keys with budgets and today's spending, without the secret parts."""

    async def look(keys: Keys) -> list[tuple[UserKey, tuple[float, int]]]:
        ledger = Ledger(keys.engine)
        return [(key, await ledger.spent(key)) for key in await keys.all()]

    table = new_table(
        None, "name", "prefix", "created", "money\ntoday", "strong tokens\ntoday", "state"
    )
    for key, (money, tokens) in use_keys(database, look):
        table.add_row(
            key.name,
            f"trim-{key.prefix}-",
            datetime.fromtimestamp(key.created, UTC).date().isoformat(),
            spent_of(f"{money:.6g}", key.money_a_day),
            spent_of(str(tokens), key.strong_tokens_a_day),
            state(key),
        )
    new_console().print(table)


def state(key: UserKey) -> str:
    if key.revoked is not None:
        return "revoked"
    return "operator" if key.operator else "active"


def spent_of(spent: str, budget: float | None) -> str:
    return spent if budget is None else f"{spent} of {budget:g}"


def use_keys(database: str, work: Callable[[Keys], Awaitable[Result]], new: bool = False) -> Result:
    """Run `work` on the keys of a database.

    Args:
        new: create the database if it does not exist.

    Raises:
        InvalidInput: the database cannot be used.
    """

    # The error below is enough; without a handler, Python would print each of the log's records.
    logging.getLogger("trim.server.storage").addHandler(logging.NullHandler())

    async def connected() -> Result:
        engine = await open_database(database, new)
        try:
            return await work(Keys(engine))
        except (APIError, *DATABASE_ERRORS) as error:
            reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
            shown = engine.url.render_as_string(hide_password=True)
            raise InvalidInput(f"{shown}: the database cannot be used ({reason})") from error
        finally:
            await engine.dispose()

    return asyncio.run(connected())


DAY = 24 * 3600


@click.group("traffic")
def traffic_command() -> None:
    """Manage the requests recorded by `trim serve`."""


@traffic_command.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    required=True,
    help="Age in days; 0 deletes all requests.",
)
@click.option("--key", callback=check_text, help="Only requests of the key with this name.")
@click.option("--yes", "is_sure", is_flag=True, help="Delete without asking.")
@database_option
def delete(days: float, key: str | None, is_sure: bool, database: str) -> None:
    """Delete requests with their steps and texts; the spending of keys is kept.

    The number of requests is shown before they are deleted, and the command asks; without a
    terminal it needs --yes.
    """
    before = time.time() - DAY * days

    async def count(keys: Keys) -> int:
        return await count_traffic(keys.engine, before, key)

    async def remove(keys: Keys) -> int:
        return await delete_traffic(keys.engine, before, key)

    found = use_keys(database, count)
    if found and not is_sure:
        if not sys.stdin.isatty():
            raise InvalidInput(f"{found} requests would be deleted; add --yes to delete them")
        click.confirm(f"Delete {found} requests?", abort=True, err=True)
    click.echo(f"{use_keys(database, remove)} requests deleted")
