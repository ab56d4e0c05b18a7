"""The server's database: `trim keys` and `trim traffic`."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy import make_url

from trim.cli.options import check_text
from trim.cli.output import new_table
from trim.cli.terminal import echo, new_console
from trim.errors import InvalidInput
from trim.server.errors import APIError
from trim.server.storage.database import DATABASE_ERRORS, open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import Ledger
from trim.server.storage.traffic import count_traffic, delete_traffic

Result = TypeVar("Result")
DEFAULT_DATABASE = "trim-server.sqlite"
NO_VALID_KEY = (
    "trim: no valid key is left, and servers on this database still require one: all requests are"
    " refused until another is created"
)

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
@click.argument("name", callback=check_text)
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

    async def make(keys: Keys) -> tuple[str, int]:
        key = await keys.create(name, money_a_day, strong_tokens_a_day, operator)
        return key, await Ledger(keys.engine).servers()

    key, servers = use_keys(database, make, new=True)
    click.echo(key)
    echo(f"trim: the key {name!r} is in {place_of(database)}", err=True)
    if not servers:
        click.echo(
            "trim: no running server uses this database; name the server's with --database, or"
            " start `trim serve` with this one",
            err=True,
        )


@keys_command.command()
@click.argument("name", callback=check_text)
@database_option
def revoke(name: str, database: str) -> None:
    """Revoke the key NAME immediately."""

    async def end(keys: Keys) -> bool:
        await keys.revoke(name)
        return all(key.revoked is not None for key in await keys.all())

    if use_keys(database, end):
        click.echo(NO_VALID_KEY, err=True)


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
    listed = use_keys(database, look)
    for key, (money, tokens) in listed:
        table.add_row(
            key.name,
            f"trim-{key.prefix}-",
            datetime.fromtimestamp(key.created, UTC).date().isoformat(),
            spent_of(f"{money:.6g}", key.money_a_day),
            spent_of(str(tokens), key.strong_tokens_a_day),
            state(key),
        )
    new_console().print(table)
    if listed and all(key.revoked is not None for key, _ in listed):
        click.echo(NO_VALID_KEY, err=True)


def state(key: UserKey) -> str:
    if key.revoked is not None:
        return "revoked"
    return "operator" if key.operator else "active"


def spent_of(spent: str, budget: float | None) -> str:
    return spent if budget is None else f"{spent} of {budget:g}"


def place_of(database: str) -> str:
    """A database as messages name it, without its password."""
    if "://" in database:
        return make_url(database).render_as_string(hide_password=True)
    return str(Path(database).resolve())


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
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def delete(days: float, key: str | None, yes: bool, database: str) -> None:
    """Delete requests with their steps and texts; the spending of keys is kept.

    It asks first; where there is no terminal to ask on, it needs --yes.
    """
    before = time.time() - DAY * days

    async def look(keys: Keys) -> int:
        return await count_traffic(keys.engine, before, key)

    async def remove(keys: Keys) -> int:
        return await delete_traffic(keys.engine, before, key)

    number = use_keys(database, look)
    if number and not yes:
        question = f"delete {count_requests(number)} from {place_of(database)}?"
        if not sys.stdin.isatty():
            raise InvalidInput(f"{question} add --yes to delete them")
        click.confirm(question, abort=True)
    click.echo(f"{count_requests(use_keys(database, remove))} deleted")


def count_requests(number: int) -> str:
    return f"{number:,} request{'' if number == 1 else 's'}"
