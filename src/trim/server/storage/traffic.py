"""Aggregates of the recorded requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trim.server.storage.keys import id_of
from trim.server.storage.tables import keys, requests, spending, steps

DAY = 24 * 3600
SLICES = 48
"""Intervals that a time range is divided into."""
UNANSWERED = ("failed", "abandoned")
QUANTILES = (0.5, 0.95, 0.99)
MAX_REASONS = 10
"""Reasons of failures that are listed, the most frequent ones."""


@dataclass(frozen=True)
class Count:
    """Requests of a time slice with the same policy, the same finish and the same control.

    Attributes:
        time: start of the slice, in seconds since 1970.
        kept_tokens: of kept steps, by any model.
        controlled: whether the controller of the strong share chose the policy.
    """

    time: int
    policy: str
    finish: str
    requests: int
    strong_tokens: int
    kept_tokens: int
    money: float
    controlled: bool = False


@dataclass(frozen=True)
class Spent:
    """Spending of a key on a day.

    Attributes:
        key: its name; None for requests without a key.
        day: in UTC, as 2026-01-31.
        money_a_day, strong_tokens_a_day: its budget; None for no limit.
    """

    key: str | None
    day: str
    money: float
    strong_tokens: int
    money_a_day: float | None = None
    strong_tokens_a_day: int | None = None


class Traffic:
    """The requests in a database, of all processes that use it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def counts(self, since: int, width: int) -> list[Count]:
        """Requests since `since`, in slices of `width` seconds, in chronological order."""
        bucket = (cast(requests.c.created, BigInteger) - since) // width
        kept = requests.c.strong_tokens + requests.c.middle_tokens + requests.c.weak_tokens
        alike = (requests.c.policy, requests.c.finish, requests.c.controlled)
        query = (
            select(
                bucket.label("bucket"),
                *alike,
                func.count(),
                func.sum(requests.c.strong_tokens),
                func.sum(kept),
                func.sum(requests.c.money),
            )
            .where(requests.c.created >= since)
            .group_by("bucket", *alike)
            .order_by("bucket", *alike)
        )
        async with self.engine.connect() as connection:
            return [
                Count(
                    since + width * int(place),
                    policy,
                    finish,
                    number,
                    int(strong),
                    int(kept_tokens),
                    money,
                    controlled,
                )
                for place, policy, finish, controlled, number, strong, kept_tokens, money in (
                    await connection.execute(query)
                )
            ]

    async def latencies(self, since: int) -> dict[float, float]:
        """Quantiles of the seconds of answered requests; empty if there are none."""
        answered = (requests.c.created >= since) & requests.c.finish.not_in(UNANSWERED)
        place = func.row_number().over(order_by=requests.c.seconds)
        ordered = select(requests.c.seconds, place.label("place")).where(answered).subquery()
        async with self.engine.connect() as connection:
            number = await count_rows(connection, answered)
            places = {share: min(int(share * number) + 1, number) for share in QUANTILES}
            query = select(ordered.c.place, ordered.c.seconds).where(
                ordered.c.place.in_(set(places.values()))
            )
            seconds = {row.place: row.seconds for row in await connection.execute(query)}
        return {share: seconds[place] for share, place in places.items() if number}

    async def faults(self, since: int) -> list[tuple[str, int]]:
        """Reasons of failures with their counts, the most frequent first."""
        number = func.count()
        query = (
            select(requests.c.failure, number)
            .where(requests.c.created >= since, requests.c.finish == "failed")
            .group_by(requests.c.failure)
            .order_by(number.desc())
            .limit(MAX_REASONS)
        )
        async with self.engine.connect() as connection:
            found = await connection.execute(query)
            reasons = [(failure or "unknown reason", count) for failure, count in found]
        return sorted(reasons, key=lambda reason: (-reason[1], reason[0]))

    async def spending(self, days: Sequence[str], since: int) -> list[Spent]:
        """Spending of each key on these days, the newest first.

        Args:
            since: start of the first day, in seconds since 1970.
        """
        by_key = (
            select(
                keys.c.name,
                spending.c.day,
                spending.c.money,
                spending.c.strong_tokens,
                keys.c.money_a_day,
                keys.c.strong_tokens_a_day,
            )
            .join(keys, keys.c.id == spending.c.key_id)
            .where(spending.c.day.in_(days))
            .order_by(spending.c.day.desc(), keys.c.name)
        )
        day = (cast(requests.c.created, BigInteger) - since) // DAY
        without = (
            select(day.label("day"), func.sum(requests.c.money), func.sum(requests.c.strong_tokens))
            .where(requests.c.key_id.is_(None), requests.c.created >= since)
            .group_by("day")
        )
        async with self.engine.connect() as connection:
            spent = [Spent(*row) for row in await connection.execute(by_key)]
            spent += [
                Spent(None, days[int(place)], money, int(tokens))
                for place, money, tokens in await connection.execute(without)
                if int(place) < len(days)
            ]
        return sorted(spent, key=lambda one: one.day, reverse=True)

    async def first_scores(self, scorer: str, limit: int) -> list[float]:
        """Scores of the newest requests' first drafts by one scorer, the newest first.

        A first draft precedes every decision, so its score depends on question, weak model and
        scorer alone.
        """
        is_first = (steps.c.choice == 0) & (steps.c.number == 0) & steps.c.score.is_not(None)
        query = (
            select(steps.c.score)
            .join(requests, requests.c.id == steps.c.request_id)
            .where(is_first, requests.c.scorer == scorer)
            .order_by(requests.c.created.desc())
            .limit(limit)
        )
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())


async def count_rows(connection: AsyncConnection, condition: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(requests).where(condition)
    return int((await connection.execute(query)).scalar_one())


async def delete_traffic(engine: AsyncEngine, before: float, key: str | None = None) -> int:
    """Delete requests and their steps; recorded spending stays.

    Args:
        before: seconds since 1970; later requests are kept.
        key: name of the key whose requests to delete; None for all.

    Returns:
        The number of deleted requests.

    Raises:
        InvalidInput: no such key.
    """
    async with engine.begin() as connection:
        query = delete(requests).where(await older(connection, before, key))
        return (await connection.execute(query)).rowcount


async def count_traffic(engine: AsyncEngine, before: float, key: str | None = None) -> int:
    """The number of requests that `delete_traffic` would delete. Raises InvalidInput as it does."""
    async with engine.connect() as connection:
        return await count_rows(connection, await older(connection, before, key))


async def older(connection: AsyncConnection, before: float, key: str | None) -> ColumnElement[bool]:
    """The condition for requests before a time, of one key or all."""
    condition = requests.c.created < before
    if key is None:
        return condition
    return condition & (requests.c.key_id == await id_of(connection, key))
