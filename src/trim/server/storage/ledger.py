"""Daily budgets of keys, and what running requests reserve of them."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.errors import APIError
from trim.server.storage.database import Transactions, reporting_unavailable
from trim.server.storage.keys import UserKey
from trim.server.storage.tables import keys, reservations, servers, spending

BEAT = 20.0
"""Seconds between two signs of life of a server."""
LEASE = 60.0
"""Seconds after the last one in which its reservations count."""
LEAST_SHARE = 0.001
"""Share of a budget that a request reserves at least: an estimate may be 0."""


@dataclass(frozen=True)
class Amount:
    """Money and strong tokens; infinite where there is no limit."""

    money: float = math.inf
    strong_tokens: float = math.inf

    def __truediv__(self, count: int) -> Amount:
        """The share of one of `count`: a token at least."""
        tokens = self.strong_tokens
        return Amount(
            self.money / count, tokens if math.isinf(tokens) else max(1, int(tokens) // count)
        )


@dataclass
class Reservation:
    """What a running request may spend of its key's budgets.

    Attributes:
        left: the rest of the budgets when it began, less what other requests had reserved.
        amount: reserved so far; infinite where the key has no budget.
        is_exhausted: whether nothing more could be reserved.
    """

    id: str
    key: UserKey
    left: Amount
    amount: Amount
    is_exhausted: bool = False


class Ledger:
    """Daily budgets, shared by all processes on one database.

    A request reserves an estimate when it begins, reserves more while it goes on, and is settled
    with what it has spent (`Recorder`). Since reservations together never exceed the rest of a
    budget, requests in progress overspend it only by what they spend beyond their reservations:
    the end of a step, or of a forwarded answer.

    A reservation is void once its request must have ended, or its server gives no sign of life
    (`beat`).

    Attributes:
        server_id: of this process, in `servers`.
    """

    def __init__(self, engine: AsyncEngine, transactions: Transactions | None = None) -> None:
        self.transactions = transactions or Transactions(engine)
        self.server_id = secrets.token_hex(16)
        self._locks = engine.dialect.name == "postgresql"
        dialect: Any = postgresql if self._locks else sqlite
        added = dialect.insert(servers)
        self._upsert = added.on_conflict_do_update(
            index_elements=[servers.c.id], set_={"seen": added.excluded.seen}
        )

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

    async def reserve(
        self, key: UserKey, estimate: Amount, seconds: float, requests: int
    ) -> Reservation:
        """Reserve an estimate, or the rest of a budget if that is less.

        Args:
            seconds: longest time that the request may take.
            requests: largest number of requests of the key at once.

        Raises:
            APIError: a budget is used up or reserved, or the key has too many requests (429), or
                the database is not available (503).
        """
        reservation = Reservation(secrets.token_hex(16), key, Amount(), Amount())

        def work(connection: Connection) -> None:
            row = self._totals(connection, key)
            if row.running >= requests:
                raise too_many(key, requests)
            reservation.left = rest_of(key, row)
            reservation.amount = Amount(
                bounded(estimate.money, key.money_a_day, reservation.left.money),
                bounded(
                    estimate.strong_tokens,
                    key.strong_tokens_a_day,
                    reservation.left.strong_tokens,
                ),
            )
            values = {
                "id": reservation.id,
                "key_id": key.id,
                "server_id": self.server_id,
                "ends": time.time() + seconds,
                **stored(reservation.amount),
            }
            connection.execute(INSERT, values)

        with reporting_unavailable():
            await self.transactions.run(work, immediate=True)
        return reservation

    async def extend(self, reservation: Reservation, more: Amount) -> Amount:
        """Reserve more, as far as the budgets go.

        Returns:
            What was added; 0 where nothing is left.

        Raises:
            APIError: the database is not available (503).
        """
        key, granted = reservation.key, Amount(0.0, 0)

        def work(connection: Connection) -> None:
            nonlocal granted
            row = self._totals(connection, key)
            money = (key.money_a_day or 0.0) - row.spent_money - row.reserved_money
            tokens = (key.strong_tokens_a_day or 0) - row.spent_tokens - row.reserved_tokens
            granted = Amount(
                0.0 if key.money_a_day is None else max(0.0, min(more.money, money)),
                0
                if key.strong_tokens_a_day is None
                else max(0, math.floor(min(more.strong_tokens, int(tokens)))),
            )
            added = {"added_money": granted.money, "added_tokens": granted.strong_tokens}
            connection.execute(EXTEND, {"reservation": reservation.id, **added})

        with reporting_unavailable():
            await self.transactions.run(work, immediate=True)
        reservation.amount = Amount(
            reservation.amount.money + granted.money,
            reservation.amount.strong_tokens + granted.strong_tokens,
        )
        reservation.is_exhausted = not (granted.money or granted.strong_tokens)
        return granted

    async def release(self, reservation: Reservation) -> None:
        """End a reservation of which nothing was spent.

        Raises:
            APIError: the database is not available (503).
        """
        with reporting_unavailable():
            await self.transactions.run(
                lambda connection: connection.execute(SETTLE, {"reservation": reservation.id}),
                immediate=True,
            )

    async def beat(self) -> None:
        """Give a sign of life, and remove what servers without one have left behind.

        Raises one of `DATABASE_ERRORS`.
        """
        now = time.time()

        def work(connection: Connection) -> None:
            connection.execute(self._upsert, {"id": self.server_id, "seen": now})
            connection.execute(delete(servers).where(servers.c.seen <= now - LEASE))
            gone = reservations.c.server_id.not_in(select(servers.c.id))
            connection.execute(delete(reservations).where(or_(reservations.c.ends <= now, gone)))

        await self.transactions.run(work, immediate=True)

    async def leave(self) -> None:
        """Remove this server and its reservations. Raises one of `DATABASE_ERRORS`."""
        own = self.server_id

        def work(connection: Connection) -> None:
            connection.execute(delete(reservations).where(reservations.c.server_id == own))
            connection.execute(delete(servers).where(servers.c.id == own))

        await self.transactions.run(work, immediate=True)

    async def servers(self) -> int:
        """Number of processes that serve from this database."""
        alive = select(func.count()).where(servers.c.seen > time.time() - LEASE)
        return await self.transactions.run(
            lambda connection: int(connection.execute(alive).scalar_one())
        )

    def _totals(self, connection: Connection, key: UserKey) -> Row[Any]:
        """What a key has spent today and reserved, locked until the end of the transaction if it
        has a budget."""
        has_budget = key.money_a_day is not None or key.strong_tokens_a_day is not None
        if self._locks and has_budget:  # SQLite has locked the whole database.
            connection.execute(LOCK, {"key": key.id})
        now = time.time()
        return connection.execute(
            TOTALS, {"key": key.id, "day": today(), "now": now, "oldest": now - LEASE}
        ).one()


def totals() -> Any:
    """Spending and valid reservations of a key, in one statement: requests that are settled
    meanwhile count once."""
    spent = (
        select(
            func.coalesce(func.sum(spending.c.money), 0.0).label("spent_money"),
            func.coalesce(func.sum(spending.c.strong_tokens), 0).label("spent_tokens"),
        )
        .where(spending.c.key_id == bindparam("key"), spending.c.day == bindparam("day"))
        .subquery()
    )
    alive = select(servers.c.id).where(servers.c.seen > bindparam("oldest"))
    reserved = (
        select(
            func.count().label("running"),
            func.coalesce(func.sum(reservations.c.money), 0.0).label("reserved_money"),
            func.coalesce(func.sum(reservations.c.strong_tokens), 0).label("reserved_tokens"),
        )
        .where(
            reservations.c.key_id == bindparam("key"),
            reservations.c.ends > bindparam("now"),
            reservations.c.server_id.in_(alive),
        )
        .subquery()
    )
    return select(spent, reserved).select_from(spent.join(reserved, literal(True)))


# Built once: building a statement takes longer than SQLite needs to run it.
TOTALS = totals()
LOCK = select(keys.c.id).where(keys.c.id == bindparam("key")).with_for_update(key_share=True)
INSERT = insert(reservations)
EXTEND = (
    update(reservations)
    .where(reservations.c.id == bindparam("reservation"))
    .values(
        money=reservations.c.money + bindparam("added_money"),
        strong_tokens=reservations.c.strong_tokens + bindparam("added_tokens"),
    )
)
SETTLE = delete(reservations).where(reservations.c.id == bindparam("reservation"))


def rest_of(key: UserKey, row: Row[Any]) -> Amount:
    """What a key may still reserve today. Raises APIError (429) if that is nothing."""
    budgets = (
        ("money", key.money_a_day, row.spent_money, row.reserved_money),
        ("strong tokens", key.strong_tokens_a_day, row.spent_tokens, row.reserved_tokens),
    )
    rest = []
    for name, budget, spent, reserved in budgets:
        if budget is not None and spent >= budget:
            raise used_up(key, name)
        rest.append(math.inf if budget is None else budget - spent - reserved)
    if min(rest) <= 0:
        raise APIError(
            429,
            f"the rest of today's budget of the key {key.name!r} is reserved for its requests in"
            " progress; try again when one of them has ended",
            "rate_limit_error",
            "budget_reserved",
            retry_after=1,
        )
    return Amount(*map(float, rest))


def bounded(estimate: float, budget: float | None, left: float) -> float:
    """The part of an estimate to reserve; infinite without a budget."""
    if budget is None:
        return math.inf
    return min(max(estimate, LEAST_SHARE * budget), left)


def stored(amount: Amount) -> dict[str, Any]:
    """A row's figures; 0 without a budget."""
    money, tokens = amount.money, amount.strong_tokens
    return {
        "money": 0.0 if math.isinf(money) else money,
        "strong_tokens": 0 if math.isinf(tokens) else math.ceil(tokens),
    }


def used_up(key: UserKey, what: str) -> APIError:
    return APIError(
        429,
        f"the key {key.name!r} has spent its {what} for today; the budget resets at midnight UTC",
        "insufficient_quota",
        "insufficient_quota",
        retry_after=seconds_to_midnight(),
    )


def too_many(key: UserKey, requests: int) -> APIError:
    return APIError(
        429,
        f"the key {key.name!r} has {requests} requests in progress, as many as the server allows;"
        " try again when one of them has ended",
        "rate_limit_error",
        "too_many_requests",
        retry_after=1,
    )


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


def seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return math.ceil((midnight - now).total_seconds())
