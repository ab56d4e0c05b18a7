"""Settings of all tests, and the databases of those that need one."""

import secrets

import postgres
import pytest
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from trim.server.storage.database import open_database, url_of

# A busy machine may hold up any example.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(params=["sqlite", "postgresql"])
async def address(request, tmp_path):
    if request.param == "sqlite":
        yield str(tmp_path / "trim.sqlite")
        return
    server = postgres.start()
    if server is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    name = f"trim_{secrets.token_hex(4)}"
    engine = create_async_engine(url_of(f"{server}/postgres"), isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    yield f"{server}/{name}"


@pytest.fixture
async def engine(address):
    opened = await open_database(address)
    yield opened
    await opened.dispose()
