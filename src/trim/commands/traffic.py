"""`trim traffic`: what the server has kept."""

from __future__ import annotations

import time

import click

from trim.commands.keys import database_option, within
from trim.server.storage.keys import Keys
from trim.server.storage.retention import delete_traffic

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
