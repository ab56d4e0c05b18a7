"""Traffic that is not to be kept any longer."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.errors import InvalidInput
from trim.server.storage.tables import keys, requests


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
            found = await connection.execute(select(keys.c.id).where(keys.c.name == key))
            number = found.scalar_one_or_none()
            if number is None:
                raise InvalidInput(f"key {key!r}: there is none; `trim keys list` shows them")
            meant = meant.where(requests.c.key_id == number)
        return (await connection.execute(meant)).rowcount
