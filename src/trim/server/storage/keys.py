"""API keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trim.errors import InvalidInput
from trim.server.storage.database import Transactions, reporting_unavailable
from trim.server.storage.tables import keys

MARK = "trim"
PREFIX_BYTES = 4
SECRET_BYTES = 32
LARGEST_BUDGET = 10**15


@dataclass(frozen=True)
class UserKey:
    """An API key, without its secret.

    Attributes:
        money_a_day, strong_tokens_a_day: its budget; None for no limit.
        created, revoked: seconds since 1970; `revoked` is None for a valid key.
        operator: whether it may see the traffic of all keys.
    """

    id: int
    name: str
    prefix: str
    money_a_day: float | None = None
    strong_tokens_a_day: int | None = None
    created: float = 0.0
    revoked: float | None = None
    operator: bool = False
    digest: str = field(default="", repr=False)


class Keys:
    """The keys in a database.

    A key is `trim-PREFIX-SECRET`, stored as its SHA-256: a secret of 256 random bits cannot be
    guessed from it, however fast the hash. Keys are looked up by prefix and compared in constant
    time.
    """

    def __init__(self, engine: AsyncEngine, transactions: Transactions | None = None) -> None:
        self.engine = engine
        self.transactions = transactions or Transactions(engine)

    async def create(
        self,
        name: str,
        money_a_day: float | None = None,
        strong_tokens_a_day: int | None = None,
        operator: bool = False,
    ) -> str:
        """Create a key and return it; it cannot be shown again.

        Raises:
            InvalidInput: the name is taken or malformed, or a budget is negative.
        """
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise InvalidInput("a key's name has 1 to 100 printable characters")
        for budget in (money_a_day, strong_tokens_a_day):
            if budget is not None and not 0 <= budget <= LARGEST_BUDGET:
                raise InvalidInput(
                    f"key {name!r}: a budget is a number from 0 up to {LARGEST_BUDGET:,}, not"
                    f" {budget!s:.40}"
                )
        prefix, secret = secrets.token_hex(PREFIX_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        key = f"{MARK}-{prefix}-{secret}"
        row = {
            "name": name,
            "prefix": prefix,
            "digest": digest(key),
            "money_a_day": money_a_day,
            "strong_tokens_a_day": strong_tokens_a_day,
            "created": time.time(),
            "operator": operator,
        }
        try:
            async with self.engine.begin() as connection:
                await connection.execute(insert(keys).values(row))
        except IntegrityError as error:
            raise InvalidInput(
                f"key {name!r}: the name is taken (revoked keys keep theirs); choose another"
            ) from error
        return key

    async def all(self) -> list[UserKey]:
        """Every key, revoked ones included, in the order of creation."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(select(keys).order_by(keys.c.id))
            return [user_key(row) for row in rows]

    async def any_ever(self) -> bool:
        """Whether a key was ever created; revoked ones stay in the database."""
        query = select(keys.c.id).limit(1)
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).first() is not None

    async def revoke(self, name: str) -> None:
        """Raises InvalidInput if no valid key has that name."""
        async with self.engine.begin() as connection:
            result = await connection.execute(
                update(keys)
                .where(keys.c.name == name, keys.c.revoked.is_(None))
                .values(revoked=time.time())
            )
        if not result.rowcount:
            raise InvalidInput(f"key {name!r}: no valid key has this name")

    async def find(self, key: str) -> UserKey | None:
        """The record of a key that a client sent; None for an unknown or revoked one.

        Raises:
            APIError: the database is not available (503).
        """
        parts = key.split("-", 2)
        if len(parts) != 3 or parts[0] != MARK:
            return None
        query = select(keys).where(keys.c.prefix == parts[1])
        with reporting_unavailable():
            row = await self.transactions.run(lambda connection: connection.execute(query).first())
        found = None if row is None else user_key(row)
        same = hmac.compare_digest(found.digest if found else "", digest(key))
        return found if found and same and found.revoked is None else None


async def id_of(connection: AsyncConnection, name: str) -> int:
    """The id of a key, revoked or not. Raises InvalidInput for a name that was never used."""
    found = await connection.execute(select(keys.c.id).where(keys.c.name == name))
    number: int | None = found.scalar_one_or_none()
    if number is None:
        raise InvalidInput(f"key {name!r}: no such key; `trim keys list` shows them")
    return number


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def user_key(row: Row[Any]) -> UserKey:
    return UserKey(**row._asdict())
