"""Who asks, what they may spend, and what is kept of it."""

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
from trim.server.storage.database import FAULTS, open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import Ledger, Left, today
from trim.server.storage.reader import Reader
from trim.server.storage.recorder import Entry, Recorder
from trim.types import Trace

SCHEME = "bearer"
LOOK_AGAIN = 1.0
"""Seconds after which a server without keys sees that one was made."""
TOLD = (
    *("id", "model", "policy", "stream", "finish", "strong_tokens", "middle_tokens"),
    *("weak_tokens", "discarded_tokens", "scorer_tokens", "money"),
)
"""What the journal tells of a request."""


@dataclass(frozen=True)
class RequestRecord:
    """A request, as it is kept.

    Attributes:
        created: seconds since 1970.
        question: kept where texts are.
        turns: messages before it.
        chat: whether it is a conversation, not a text to complete.
        headers: what the client sent, for the trace that it may be part of.
        told: what became of it, for the journal; empty until it has ended.
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
    told: dict[str, Any] = field(default_factory=dict)


class Accounts:
    """Keys, budgets and records on one database.

    Args:
        keep_texts: keep questions, answers and steps, not only what they cost.

    Attributes:
        need_key: whether a key must be sent: once there is one, and then even if it is revoked.
    """

    def __init__(self, engine: AsyncEngine, prices: Prices, keep_texts: bool = False) -> None:
        self.engine = engine
        self.prices = prices
        self.keep_texts = keep_texts
        self.reader = Reader(engine)
        self.keys = Keys(engine, self.reader)
        self.ledger = Ledger(engine, self.reader)
        self.recorder = Recorder(engine)
        self.need_key = False
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """See whether a key must be sent, and go on to see it until it must."""
        self.need_key = await self.keys.any_holds()
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while not self.need_key:
            await asyncio.sleep(LOOK_AGAIN)
            with suppress(*FAULTS):
                self.need_key = await self.keys.any_holds()

    async def identify(self, header: str | None) -> UserKey | None:
        """The key in an `Authorization` header; None where nobody needs one.

        Raises:
            Failure: 401 without a key that holds.
        """
        return await self._known(header) if self.need_key else None

    async def authorize_operator(self, header: str | None) -> None:
        """Let in whose key is an operator's, and everybody where nobody needs a key.

        Raises:
            Failure: 401 without a key that holds, 403 where it is another's.
        """
        key = await self.identify(header)
        if key and not key.operator:
            raise APIError(
                403,
                "this key may ask, not see the traffic of others; an operator's is made by"
                " `trim keys create NAME --operator`",
                "permission_error",
                "operator_key_needed",
            )

    async def _known(self, header: str | None) -> UserKey:
        """Raises Failure without a key that holds."""
        scheme, _, shown = (header or "").partition(" ")
        key = await self.keys.find(shown.strip()) if scheme.lower() == SCHEME else None
        if key is None:
            raise APIError(
                401,
                "no key that holds; send one as `Authorization: Bearer trim-…`",
                "authentication_error",
                "invalid_api_key",
            )
        return key

    async def left(self, key: UserKey | None) -> Left:
        """What may still be spent today with a key; without one there is no limit.

        Raises:
            Failure: nothing is left (429).
        """
        return await self.ledger.left(key) if key else Left()

    async def limited(self, router: Router, key: UserKey | None, count: int) -> Router:
        """The router, which spends no more than is left to a key, shared by `count` solutions.

        Raises:
            Failure: nothing is left (429).
        """
        left = await self.left(key)
        if left.money < math.inf:
            router = router.with_config(
                max_money=least(router.config.max_money, left.money / count)
            )
        if left.strong_tokens < math.inf:
            share = max(1, int(left.strong_tokens) // count)
            tokens = least(router.config.max_strong_tokens, share)
            router = router.with_config(max_strong_tokens=int(tokens))
        return router

    def record(
        self, asked: RequestRecord, traces: Sequence[Trace], finish: str, failure: str | None = None
    ) -> asyncio.Future[None]:
        """Keep what was done for a request, whatever became of it (`Recorder.write`)."""
        entry = self.entry(asked, traces, finish, failure)
        asked.told.update((name, entry.request[name]) for name in TOLD)
        return self.recorder.write(entry)

    def entry(
        self, asked: RequestRecord, traces: Sequence[Trace], finish: str, failure: str | None
    ) -> Entry:
        texts = self.keep_texts
        totals = ("strong_tokens", "weak_tokens", "discarded_tokens")
        request: dict[str, Any] = {
            "id": asked.id,
            "key_id": asked.key.id if asked.key else None,
            "created": asked.created,
            "seconds": time.time() - asked.created,
            "model": asked.model,
            "policy": traces[0].policy if traces else "",
            "stream": asked.stream,
            "finish": finish,
            **{name: sum(getattr(trace, name) for trace in traces) for name in totals},
            "middle_tokens": sum(trace.intermediate_tokens for trace in traces),
            "scorer_tokens": sum(trace.scorer_tokens for trace in traces),
            "money": sum(map(self.prices.of, traces)),
            "failure": failure,
            "question": asked.question if texts else None,
            "answer": traces[0].solution if texts and traces else None,
            "turns": asked.turns,
        }
        steps = [
            {
                "request_id": asked.id,
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
        except FAULTS:
            return False
        return True

    async def close(self) -> None:
        """Write what waits."""
        if self._watching:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self.recorder.close()
        await self.reader.close()
        await self.engine.dispose()


def least(limit: float | None, other: float) -> float:
    return other if limit is None else min(limit, other)


async def open_accounts(address: str, prices: Prices, keep_texts: bool = False) -> Accounts:
    """The accounts in a database.

    Raises:
        InvalidInput: the database cannot be used.
    """
    accounts = Accounts(await open_database(address), prices, keep_texts)
    await accounts.begin()
    return accounts
