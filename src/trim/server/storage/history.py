"""Single requests as they were recorded, the newest first, and their steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.server.storage.tables import keys, requests, steps

PAGE = 10
"""Requests of one list."""
OUTLINED, SHOWN = 100, 500
"""Steps of a request in the list, and by themselves."""
BEGINNING = 300
"""Characters of a question in the list."""

LISTED = (
    *("id", "created", "seconds", "policy", "finish", "failure", "money"),
    *("strong_tokens", "middle_tokens", "weak_tokens", "discarded_tokens"),
)


class History:
    """The requests in a database, of all processes that use it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def newest(self, since: float, before: float) -> list[dict[str, Any]]:
        """Up to `PAGE` requests between two times, the newest first.

        Each has the columns `LISTED`, the name of its `key`, the beginning of its `question` (null
        unless texts are kept), and the authors and actions of its first solution's `steps`.

        Args:
            since, before: in seconds since 1970.
        """
        query = (
            select(
                *(requests.c[name] for name in LISTED),
                requests.c.question,
                keys.c.name.label("key"),
            )
            .outerjoin(keys, keys.c.id == requests.c.key_id)
            .where(requests.c.created >= since, requests.c.created < before)
            .order_by(requests.c.created.desc(), requests.c.id)
            .limit(PAGE)
        )
        async with self.engine.connect() as connection:
            found = [dict(row._mapping) for row in await connection.execute(query)]
            outline = (
                select(steps.c.request_id, steps.c.author, steps.c.action)
                .where(
                    steps.c.request_id.in_([request["id"] for request in found]),
                    steps.c.choice == 0,
                    steps.c.number < OUTLINED,
                )
                .order_by(steps.c.request_id, steps.c.number)
            )
            outlines: dict[str, list[Mapping[str, str]]] = {}
            for row in await connection.execute(outline):
                step = {"author": row.author, "action": row.action}
                outlines.setdefault(row.request_id, []).append(step)
        return [
            {
                **request,
                "question": request["question"] and request["question"][:BEGINNING],
                "steps": outlines.get(request["id"], []),
            }
            for request in found
        ]

    async def steps(self, request_id: str) -> list[dict[str, Any]]:
        """Up to `SHOWN` steps of a request, by solution and number; empty for an unknown one."""
        columns = [column for column in steps.c if column.name != "request_id"]
        query = (
            select(*columns)
            .where(steps.c.request_id == request_id)
            .order_by(steps.c.choice, steps.c.number)
            .limit(SHOWN)
        )
        async with self.engine.connect() as connection:
            return [dict(row._mapping) for row in await connection.execute(query)]
