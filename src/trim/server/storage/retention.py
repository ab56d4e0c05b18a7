"""Traffic that is not to be kept any longer."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.keys import id_of
from trim.server.storage.tables import requests


async def delete_traffic(engine: AsyncEngine, before: float, key: str | None = None) -> int:
    """Delete requests and their steps; what was spent stays in the books.

    Args:
        before: seconds since 1970; later requests are kept.
        key: name of the key whose requests are meant; those of all where None.

    Returns:
        How many requests were deleted.

    Raises:
        InvalidInput: there never was such a key.
    """
    meant = delete(requests).where(requests.c.created < before)
    async with engine.begin() as connection:
        if key is not None:
            meant = meant.where(requests.c.key_id == await id_of(connection, key))
        return (await connection.execute(meant)).rowcount
