"""Databases of the server as earlier versions made them."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trim.server.storage.database import migrate, url_of


async def made_at(address, version, statement, **values):
    """A database with the tables of a version, and what one statement puts into them."""
    engine = create_async_engine(url_of(str(address)))
    async with engine.begin() as connection:
        await connection.run_sync(migrate, version)
        await connection.execute(text(statement), values)
    await engine.dispose()
