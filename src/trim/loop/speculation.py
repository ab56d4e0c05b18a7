"""Work in the background of the step loop, done before it is known to be needed."""

from __future__ import annotations

import asyncio
from types import TracebackType

from trim.engines.retry import until
from trim.errors import TrimError
from trim.loop.solution import Solution, Writer
from trim.models.model import Completion, Prefilling, Prefix
from trim.steps import closed


class Speculation:
    """Drafts on from drafts that are being scored, and fills the strong model's cache.

    Texts and decisions are those of a loop without it: a step is a function of prefix,
    sampling and seed, whenever it is written. What it spends is in the solution's books; at the
    end it waits for what is still under way, so that nothing is left out, and cancels it where
    the solution was given up.

    Args:
        drafter: who drafts on; None for nobody.
        prefiller: whose cache is filled; None for nobody's.
    """

    def __init__(
        self, solution: Solution, drafter: Writer | None, prefiller: Prefilling | None
    ) -> None:
        self.solution = solution
        self.drafter = drafter
        self.prefiller = prefiller
        self._drafts: dict[Prefix, tuple[float, asyncio.Task[tuple[Completion, float]]]] = {}
        self._prefill: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Speculation:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        drafts = [task for _, task in self._drafts.values()]
        tasks = [*drafts, self._prefill] if self._prefill else drafts
        if error:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.solution.dropped_tokens += sum(
            task.result()[0].tokens
            for task in drafts
            if not task.cancelled() and not task.exception()
        )

    def draft(self) -> None:
        """Begin with the step after the one that was written last, as if that were kept."""
        written = self.solution.newest
        room = self.solution.room(ahead=written.tokens)
        last = self.solution.would_end(written) or self.solution.is_last_step or room <= 0
        if self.drafter is None or last:
            return
        prefix = self.solution.prefix.then(closed(written.text))
        if prefix not in self._drafts:
            task = asyncio.create_task(self.solution.compose(self.drafter, prefix, room))
            self._drafts[prefix] = self.solution.seconds, task

    async def write(self, writer: Writer) -> Completion:
        """What `Solution.write` does, with the draft that was begun for what has been kept."""
        begun = self._drafts.pop(self.solution.prefix, None) if writer is self.drafter else None
        if begun is None:
            return await self.solution.write(writer)
        started, task = begun
        written, seconds = await task
        self.solution.take(writer, written, started + seconds)
        return written

    def prefill(self) -> None:
        """Have the strong model read what has been kept, unless it is still reading or all is."""
        idle = self._prefill is None or self._prefill.done()
        if self.prefiller and idle and self.solution.finish is None:
            self._prefill = asyncio.create_task(self._read(self.prefiller, self.solution.prefix))

    async def _read(self, model: Prefilling, prefix: Prefix) -> None:
        try:
            with until(self.solution.deadline):
                spent = await model.prefill(prefix)
        except TrimError:
            return  # Nothing depends on it; who needs the model will meet the failure.
        self.solution.count("warming", spent.prompt_tokens, spent.cached_tokens, spent.tokens)
