"""How far a long run is, and what it has found so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from trim.evaluation.bill import Bill
from trim.types import Finish, Trace

ALONE = ("weak", "strong")
INTERVAL = 1.0
"""Seconds between two standings while problems are under way."""
Range = tuple[float, float]


@dataclass(frozen=True)
class RunProgress:
    """What is on disk, and what is under way.

    Attributes:
        finished: problems.
        accuracy: share of right answers, of the worst and of the best routed policy; of the models
            alone where nothing is routed. None before the first problem.
        strong_share: strong tokens of the same as a share of the strong model's alone; None where
            that is not run.
        money: that was paid, in this session and those before.
        failed: traces that ended because something did not answer.
        steps, tokens: written in this session, those of problems under way included (`Bill`).
    """

    finished: int
    accuracy: Range | None = None
    strong_share: Range | None = None
    money: float | None = None
    failed: int = 0
    steps: int = 0
    tokens: int = 0

    def after(self, finished: int) -> RunProgress:
        """The same, with problems of earlier runs before it."""
        return replace(self, finished=finished + self.finished)


class Tally:
    """Sums over the traces of a run, of which it is told one after the other.

    Args:
        policies: of the run, by name.
    """

    def __init__(self, policies: Sequence[str]) -> None:
        self.shown = [name for name in policies if name not in ALONE] or list(policies)
        self._count = dict.fromkeys(policies, 0)
        self._right = dict.fromkeys(policies, 0)
        self._tokens = dict.fromkeys(policies, 0)
        self._failed = 0

    def add(self, traces: Iterable[Trace]) -> None:
        for trace in traces:
            self._count[trace.policy] += 1
            self._right[trace.policy] += bool(trace.correct)
            self._tokens[trace.policy] += trace.strong_tokens
            self._failed += trace.finish is Finish.FAILED

    def progress(self, finished: int, bill: Bill | None = None) -> RunProgress:
        alone = self._tokens.get("strong", 0)
        return RunProgress(
            finished,
            spread(self._right[name] / self._count[name] for name in self.shown)
            if all(self._count[name] for name in self.shown)
            else None,
            spread(self._tokens[name] / alone for name in self.shown) if alone else None,
            bill.money if bill else None,
            self._failed,
            bill.steps if bill else 0,
            bill.tokens if bill else 0,
        )


def spread(values: Iterable[float]) -> Range:
    listed = list(values)
    return min(listed), max(listed)


@asynccontextmanager
async def call_periodically(tell: Callable[[], None]) -> AsyncIterator[None]:
    """Within it `tell` is called every `INTERVAL` seconds."""

    async def go_on() -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            tell()

    telling = asyncio.create_task(go_on())
    try:
        yield
    finally:
        telling.cancel()
