"""Daily budgets of keys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.errors import APIError
from trim.server.storage.database import Transactions, reporting_unavailable
from trim.server.storage.keys import UserKey
from trim.server.storage.tables import spending


@dataclass(frozen=True)
class Remaining:
    """The rest of a key's budget for today; infinite where it has no limit."""

    money: float = math.inf
    strong_tokens: float = math.inf


class Ledger:
    """Daily budgets, shared by all processes on one database.

    Spending is read before a request begins, and the request is limited to what remains. So only
    concurrent requests can exceed a budget, each by at most what remained when it began.
    """

    def __init__(self, engine: AsyncEngine, transactions: Transactions | None = None) -> None:
        self.transactions = transactions or Transactions(engine)

    async def spent(self, key: UserKey, day: str | None = None) -> tuple[float, int]:
        """Money and strong tokens spent on a day (UTC), by default today.

        Raises:
            APIError: the database is not available (503).
        """
        query = select(spending.c.money, spending.c.strong_tokens).where(
            spending.c.key_id == key.id, spending.c.day == (day or today())
        )
        with reporting_unavailable():
            row = await self.transactions.run(lambda connection: connection.execute(query).first())
        return (float(row.money), int(row.strong_tokens)) if row else (0.0, 0)

    async def remaining(self, key: UserKey) -> Remaining:
        """What a key may still spend today.

        Raises:
            APIError: a budget is used up (429), or the database is not available (503).
        """
        if key.money_a_day is None and key.strong_tokens_a_day is None:
            return Remaining()
        money, tokens = await self.spent(key)
        remaining = Remaining(
            math.inf if key.money_a_day is None else key.money_a_day - money,
            math.inf if key.strong_tokens_a_day is None else key.strong_tokens_a_day - tokens,
        )
        if remaining.money > 0 and remaining.strong_tokens > 0:
            return remaining
        what = "money" if remaining.money <= 0 else "strong tokens"
        raise APIError(
            429,
            f"the key {key.name!r} has spent its {what} for today; the budget resets at midnight"
            " UTC",
            "insufficient_quota",
            "insufficient_quota",
            retry_after=seconds_to_midnight(),
        )


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


def seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((midnight - now).total_seconds())
