"""What each key has spent, and whether it may spend more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.errors import APIError
from trim.server.storage.keys import UserKey
from trim.server.storage.reader import Reader
from trim.server.storage.tables import spending

SPENT = select(spending.c.money, spending.c.strong_tokens).where(
    spending.c.key_id == bindparam("key"), spending.c.day == bindparam("date")
)


@dataclass(frozen=True)
class Left:
    """What a key may still spend today; infinite where it has no such budget."""

    money: float = math.inf
    strong_tokens: float = math.inf


class Ledger:
    """Budgets a day, held by all processes on one database.

    What was spent is read before a request begins, and what the request may spend is limited to
    what is left. So only requests that are under way together can pass a budget, each by no more
    than was left when it began.
    """

    def __init__(self, engine: AsyncEngine, reader: Reader | None = None) -> None:
        self.reader = reader or Reader(engine)

    async def spent(self, key: UserKey, day: str | None = None) -> tuple[float, int]:
        """Money and strong tokens of a day (UTC), today without one.

        Raises:
            Failure: the database cannot be used (503).
        """
        row = await self.reader.row(SPENT, {"key": key.id, "date": day or today()})
        return (float(row["money"]), int(row["strong_tokens"])) if row else (0.0, 0)

    async def left(self, key: UserKey) -> Left:
        """What a key may still spend today.

        Raises:
            Failure: a budget is spent (429), or the database cannot be used (503).
        """
        if key.money_a_day is None and key.strong_tokens_a_day is None:
            return Left()
        money, tokens = await self.spent(key)
        left = Left(
            math.inf if key.money_a_day is None else key.money_a_day - money,
            math.inf if key.strong_tokens_a_day is None else key.strong_tokens_a_day - tokens,
        )
        if left.money > 0 and left.strong_tokens > 0:
            return left
        what = "money" if left.money <= 0 else "strong tokens"
        raise APIError(
            429,
            f"the key {key.name!r} has spent its {what} of today; it may go on at midnight UTC",
            "insufficient_quota",
            "insufficient_quota",
            retry_after=seconds_to_midnight(),
        )


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((midnight - now).total_seconds())
