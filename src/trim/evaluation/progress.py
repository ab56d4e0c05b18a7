"""Progress of a run: how far it is, and its results so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from trim.evaluation.bill import Bill
from trim.types import Finish, Trace

ALONE = ("weak", "strong")
INTERVAL = 1.0
"""Seconds between two progress reports."""
Range = tuple[float, float]


@dataclass(frozen=True)
class RunProgress:
    """Progress of a run.

    Attributes:
        finished: number of finished problems.
        accuracy: lowest and highest accuracy among routed policies, or among the models alone if
            no policy routes. None before the first problem.
        strong_share: lowest and highest strong share of the same policies; None if the strong
            model is not run alone.
        money: cost so far, earlier sessions included; None if nothing is billed.
        failed: traces that ended because a model or the scorer did not answer.
        steps, tokens: written in this session, including problems in progress (`Bill`).
        under_way: number of problems in progress.
    """

    finished: int
    accuracy: Range | None = None
    strong_share: Range | None = None
    money: float | None = None
    failed: int = 0
    steps: int = 0
    tokens: int = 0
    under_way: int = 0

    def after(self, finished: int) -> RunProgress:
        """The same with `finished` more problems, those of earlier runs."""
        return replace(self, finished=finished + self.finished)


class Tally:
    """Running sums over the traces of a run.

    Args:
        policies: names of the run's policies.
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

    def progress(self, finished: int, bill: Bill | None = None, under_way: int = 0) -> RunProgress:
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
            under_way,
        )


def spread(values: Iterable[float]) -> Range:
    listed = list(values)
    return min(listed), max(listed)


@asynccontextmanager
async def call_periodically(callback: Callable[[], None]) -> AsyncIterator[None]:
    """Call `callback` every `INTERVAL` seconds inside the block."""

    async def loop() -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            callback()

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
