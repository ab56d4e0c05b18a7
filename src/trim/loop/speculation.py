"""Background work of the step loop: speculative drafts, and prefill of the strong model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from trim.engines.retry import until
from trim.errors import TrimError
from trim.loop.solution import Solution, Writer
from trim.models.model import Completion, Prefilling, Prefix
from trim.steps import closed


class Speculation:
    """Drafts the next step while the current draft is scored, assuming that it will be kept.

    Texts and decisions do not change: a step is a function of prefix, sampling and seed.
    Unused drafts count as `Solution.dropped_tokens`, and against a limit of money.

    Args:
        drafter: the weak model; None disables speculation.
    """

    def __init__(self, solution: Solution, drafter: Writer | None) -> None:
        self.solution = solution
        self.drafter = drafter
        self._drafts: dict[Prefix, tuple[float, asyncio.Task[tuple[Completion, float]]]] = {}

    def start(self) -> None:
        """Start drafting the step after the newest version, unless the solution would end."""
        written = self.solution.newest
        if self.drafter is None or self.solution.is_last(written):
            return
        room = self.solution.room(ahead=written.tokens)
        prefix = self.solution.prefix.then(closed(written.text))
        if prefix not in self._drafts:
            task = asyncio.create_task(self.solution.generate(self.drafter, prefix, room))
            self._drafts[prefix] = self.solution.seconds, task

    async def write(self, writer: Writer) -> Completion:
        """`Solution.write`, with the draft that was started for this prefix if there is one."""
        begun = self._drafts.pop(self.solution.prefix, None) if writer is self.drafter else None
        if begun is None:
            return await self.solution.write(writer)
        started, task = begun
        written, seconds = await task
        self.solution.add_version(writer, written, started + seconds)
        return written

    async def close(self, cancel: bool) -> None:
        """Wait for unused drafts, or cancel them, and count their tokens."""
        tasks = [task for _, task in self._drafts.values()]
        await settle(tasks, cancel)
        self.solution.dropped_tokens += sum(
            task.result()[0].tokens
            for task in tasks
            if not task.cancelled() and not task.exception()
        )


class Prefill:
    """Has the strong model read kept steps in advance, to fill its server's prompt cache.

    Args:
        model: the strong model; None if it cannot read in advance.
    """

    def __init__(self, solution: Solution, model: Prefilling | None) -> None:
        self.solution = solution
        self.model = model
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading the kept steps, unless the model is still reading or the solution ended."""
        idle = self._task is None or self._task.done()
        if self.model and idle and self.solution.finish is None:
            self._task = asyncio.create_task(self._read(self.model, self.solution.prefix))

    async def close(self, cancel: bool) -> None:
        """Wait for the current reading, or cancel it."""
        await settle([self._task] if self._task else [], cancel)

    async def _read(self, model: Prefilling, prefix: Prefix) -> None:
        try:
            with until(self.solution.deadline):
                spent = await model.prefill(prefix)
        except TrimError:
            return  # Nothing depends on it; the failure shows when the model has to write.
        self.solution.add_usage("warming", spent)


async def settle(tasks: Iterable[asyncio.Task[Any]], cancel: bool) -> None:
    """Wait until tasks have ended; `cancel` cancels them first."""
    if cancel:
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
