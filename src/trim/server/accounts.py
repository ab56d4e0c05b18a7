"""Authentication, budgets and records of requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.costs import Prices
from trim.router import Router
from trim.server.errors import APIError
from trim.server.storage.database import DATABASE_ERRORS, Transactions, open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import Ledger, Remaining, today
from trim.server.storage.recorder import Entry, Recorder
from trim.types import Trace

KEY_CHECK_SECONDS = 1.0
"""Seconds after which a server without keys notices that one was created."""
LOGGED = (
    *("id", "model", "policy", "stream", "finish", "strong_tokens", "middle_tokens"),
    *("weak_tokens", "discarded_tokens", "scorer_tokens", "money"),
)
"""Columns of `requests` that the access log shows."""


@dataclass(frozen=True)
class RequestRecord:
    """A request as it is recorded.

    Attributes:
        created: seconds since 1970.
        question: stored only where texts are kept.
        turns: number of messages before the question.
        chat: a conversation, as opposed to a text completion.
        headers: of the request, for the trace that it may belong to.
        log_fields: for the access log; empty until the request has ended.
    """

    id: str
    key: UserKey | None
    created: float
    model: str
    stream: bool
    question: str
    turns: int = 0
    chat: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    log_fields: dict[str, Any] = field(default_factory=dict)


class Accounts:
    """Keys, budgets and records in one database.

    Args:
        keep_texts: store questions, answers and steps, not only their cost.

    Attributes:
        need_key: whether requests need a key: once one exists, and from then on even if all are
            revoked.
    """

    def __init__(self, engine: AsyncEngine, prices: Prices, keep_texts: bool = False) -> None:
        self.engine = engine
        self.prices = prices
        self.keep_texts = keep_texts
        self.transactions = Transactions(engine)
        self.keys = Keys(engine, self.transactions)
        self.ledger = Ledger(engine, self.transactions)
        self.recorder = Recorder(engine, self.transactions)
        self.need_key = False
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check whether requests need a key, and keep checking until they do."""
        self.need_key = await self.keys.any_valid()
        self._watcher = asyncio.create_task(self._watch_for_keys())

    async def _watch_for_keys(self) -> None:
        while not self.need_key:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            with suppress(*DATABASE_ERRORS):
                self.need_key = await self.keys.any_valid()

    async def identify(self, sent: str | None) -> UserKey | None:
        """The record of the key that a client sent; None where no key is needed.

        Raises:
            APIError: 401 without a valid key.
        """
        if not self.need_key:
            return None
        key = await self.keys.find(sent.strip()) if sent else None
        if key is None:
            raise APIError(
                401,
                "no valid key; send one as `Authorization: Bearer trim-…`",
                "authentication_error",
                "invalid_api_key",
            )
        return key

    async def remaining(self, key: UserKey | None) -> Remaining:
        """The rest of a key's budget for today; without a key there is no limit.

        Raises:
            APIError: the budget is used up (429).
        """
        return await self.ledger.remaining(key) if key else Remaining()

    async def limit_router(self, router: Router, key: UserKey | None, count: int) -> Router:
        """The router, limited to the rest of a key's budget divided by `count` solutions.

        Raises:
            APIError: the budget is used up (429).
        """
        remaining = await self.remaining(key)
        if remaining.money < math.inf:
            router = router.with_config(
                max_money=smaller(router.config.max_money, remaining.money / count)
            )
        if remaining.strong_tokens < math.inf:
            share = max(1, int(remaining.strong_tokens) // count)
            tokens = smaller(router.config.max_strong_tokens, share)
            router = router.with_config(max_strong_tokens=int(tokens))
        return router

    def write(
        self,
        record: RequestRecord,
        traces: Sequence[Trace],
        finish: str,
        failure: str | None = None,
    ) -> asyncio.Future[None]:
        """Store a request that has ended, in any way (`Recorder.write`)."""
        entry = self.entry(record, traces, finish, failure)
        record.log_fields.update((name, entry.request[name]) for name in LOGGED)
        return self.recorder.write(entry)

    def entry(
        self, record: RequestRecord, traces: Sequence[Trace], finish: str, failure: str | None
    ) -> Entry:
        texts = self.keep_texts
        totals = ("strong_tokens", "weak_tokens", "discarded_tokens")
        request: dict[str, Any] = {
            "id": record.id,
            "key_id": record.key.id if record.key else None,
            "created": record.created,
            "seconds": time.time() - record.created,
            "model": record.model,
            "policy": traces[0].policy if traces else "",
            "stream": record.stream,
            "finish": finish,
            **{name: sum(getattr(trace, name) for trace in traces) for name in totals},
            "middle_tokens": sum(trace.intermediate_tokens for trace in traces),
            "scorer_tokens": sum(trace.scorer_tokens for trace in traces),
            "money": sum(map(self.prices.of, traces)),
            "failure": failure,
            "question": record.question if texts else None,
            "answer": traces[0].solution if texts and traces else None,
            "turns": record.turns,
        }
        steps = [
            {
                "request_id": record.id,
                "choice": choice,
                "number": number,
                "author": str(step.author),
                "action": str(step.action),
                "score": step.score,
                "tokens": step.tokens,
                "draft_tokens": step.draft_tokens,
                "strong_tokens": step.strong_tokens,
                "fallback": step.fallback,
                "text": step.text if texts else None,
                "draft": step.draft if texts else None,
            }
            for choice, trace in enumerate(traces)
            for number, step in enumerate((*trace.abandoned, *trace.steps))
        ]
        return Entry(request, steps, today())

    async def reachable(self) -> bool:
        """Whether the database answers."""
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except DATABASE_ERRORS:
            return False
        return True

    async def close(self) -> None:
        """Write the queued records and disconnect."""
        if self._watcher:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        await self.recorder.close()
        self.transactions.close()
        await self.engine.dispose()


def smaller(limit: float | None, other: float) -> float:
    return other if limit is None else min(limit, other)


async def open_accounts(address: str, prices: Prices, keep_texts: bool = False) -> Accounts:
    """The accounts in a database.

    Raises:
        InvalidInput: the database cannot be used.
    """
    accounts = Accounts(await open_database(address), prices, keep_texts)
    await accounts.start()
    return accounts
