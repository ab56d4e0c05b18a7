"""Authentication, budgets and records of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from trim.costs import Prices
from trim.loop.solution import Solution
from trim.server.errors import APIError
from trim.server.storage.database import DATABASE_ERRORS, Transactions, open_database
from trim.server.storage.keys import Keys, UserKey
from trim.server.storage.ledger import BEAT, Amount, Ledger, Reservation, today
from trim.server.storage.recorder import Entry, Recorder
from trim.types import Trace

KEY_CHECK_SECONDS = 1.0
"""Seconds after which a server without keys notices that one was created."""
TOP_UP_SECONDS = 0.05
"""Seconds between two looks at what a whole answer has spent."""
SETTLING_SECONDS = 60.0
"""Seconds after its deadline in which a request is recorded at the latest."""
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
        self._background: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Check whether requests need a key, keep checking until they do, and give signs of life.

        Raises one of `DATABASE_ERRORS`.
        """
        await self.ledger.beat()
        self.need_key = await self.keys.any_ever()
        self._background = (
            asyncio.create_task(self._watch_for_keys()),
            asyncio.create_task(self._beat()),
        )

    async def _watch_for_keys(self) -> None:
        while not self.need_key:
            await asyncio.sleep(KEY_CHECK_SECONDS)
            with suppress(*DATABASE_ERRORS):
                self.need_key = await self.keys.any_ever()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            with suppress(*DATABASE_ERRORS):
                await self.ledger.beat()

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

    async def reserve(
        self, key: UserKey | None, estimate: Amount, seconds: float, requests: int
    ) -> Reservation | None:
        """Reserve what a request probably costs; None without a key, which has no limit.

        Args:
            seconds: longest time that the request may take.
            requests: largest number of requests of the key at once.

        Raises:
            APIError: see `Ledger.reserve`.
        """
        if key is None:
            return None
        return await self.ledger.reserve(key, estimate, seconds + SETTLING_SECONDS, requests)

    @asynccontextmanager
    async def topping_up(
        self, reservation: Reservation | None, solution: Solution, whole: bool
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Reserve more while a solution grows: at each call of what this yields, and in between
        while a whole answer is written, which does not wait for such calls."""
        lock = asyncio.Lock()

        async def top_up() -> None:
            if reservation:
                async with lock:
                    await self.top_up(reservation, solution)

        async def keep_on() -> None:
            while True:
                await asyncio.sleep(TOP_UP_SECONDS)
                await top_up()

        task = asyncio.create_task(keep_on()) if reservation and whole else None
        try:
            yield top_up
        finally:
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def top_up(self, reservation: Reservation, solution: Solution) -> None:
        """Double the allowance of a solution that has spent more than half of it, as far as the
        budgets go, by reserving more."""
        allowance = solution.allowance
        money = self.prices.of_usage(solution.usage, solution.scorer)
        is_enough = money <= allowance.money / 2 and (
            solution.strong_tokens <= allowance.strong_tokens / 2
        )
        if is_enough:
            return
        if reservation.is_exhausted:
            allowance.margin = 0
            return
        try:
            more = await self.ledger.extend(
                reservation, Amount(allowance.money, allowance.strong_tokens)
            )
        except APIError:  # The end of the request reports it.
            return
        allowance.money += more.money
        allowance.strong_tokens += more.strong_tokens

    def write(
        self,
        record: RequestRecord,
        traces: Sequence[Trace],
        finish: str,
        failure: str | None = None,
        reservation: Reservation | None = None,
        controlled: bool = False,
    ) -> asyncio.Future[None]:
        """Store a request that has ended, in any way, and settle it (`Recorder.write`)."""
        entry = self.entry(record, traces, finish, failure, controlled)
        entry = replace(entry, reservation=reservation.id if reservation else None)
        record.log_fields.update((name, entry.request[name]) for name in LOGGED)
        return self.recorder.write(entry)

    def entry(
        self,
        record: RequestRecord,
        traces: Sequence[Trace],
        finish: str,
        failure: str | None,
        controlled: bool,
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
            "controlled": controlled,
            "scorer": traces[0].scorer if traces else None,
        }
        steps = [
            {
                "request_id": record.id,
                "choice": choice,
                "number": number,
                "author": str(step.author),
                "action": str(step.action),
                "score": step.first_score,
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
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.recorder.close()
        with suppress(*DATABASE_ERRORS):
            await self.ledger.leave()
        self.transactions.close()
        await self.engine.dispose()


async def open_accounts(address: str, prices: Prices, keep_texts: bool = False) -> Accounts:
    """The accounts in a database.

    Raises:
        InvalidInput: the database cannot be used.
    """
    accounts = Accounts(await open_database(address), prices, keep_texts)
    await accounts.start()
    return accounts
