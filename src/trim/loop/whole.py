"""Writing a whole answer: one request, whose pieces are passed on as they are decoded."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import replace

from trim.engines.retry import until
from trim.errors import InvalidInput, ModelUnavailable
from trim.events import SpanWritten
from trim.loop.solution import Solution, Writer
from trim.models.model import Completion, Ending
from trim.models.whole import WholeModel, WholeRequest
from trim.numerics import derive_seed
from trim.policies.whole import WholeAnswer
from trim.types import Action, Author, Whole

TIME_IS_UP = "the problem's time is up"


class WholeWriter:
    """Writes the only step of a solution that one model answers whole.

    Attributes:
        is_complete: whether the answer is the newest version of the step.
    """

    def __init__(self, solution: Solution, policy: WholeAnswer) -> None:
        self.solution = solution
        self.policy = policy
        self.is_complete = False
        self._writer: Writer | None = None
        self._task: asyncio.Task[Completion] | None = None
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self._begun: list[str] = []
        self._written: Completion | None = None
        self._is_closed = False
        solution.whole = Whole(policy.role, policy.reason)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer is with the client."""
        return bool(self._begun)

    async def write(self, writer: Writer, strong_tokens: float) -> SpanWritten:
        """The next pieces of the answer; the last ones may be empty.

        Args:
            strong_tokens: those that the strong model may still decode for this problem.

        Raises:
            InvalidInput: the model does not write whole answers.
            ContextExceeded, ModelUnavailable: as `WholeModel.write_whole`.
        """
        if self._task is None:
            self._start(writer, strong_tokens)
        assert self._task is not None
        pieces = [await self._pieces.get()]
        while not self._pieces.empty():
            pieces.append(self._pieces.get_nowait())
        texts = [piece for piece in pieces if piece is not None]
        self._begun += texts
        if len(texts) < len(pieces):
            self._end(writer)
        return SpanWritten(1, writer.author, "".join(texts), len(texts))

    def cut(self) -> None:
        """Keep and count what was written of an answer that cannot be finished.

        Tokens that no engine has counted are estimated: one for each piece.
        """
        if self.is_complete or not self._begun or self._writer is None:
            return
        text, read = "".join(self._begun), self._request(None).estimated_tokens
        finish = self.solution.finish
        cost = self._written or Completion(text, Ending.LENGTH, len(self._begun), read)
        self._add(self._writer, cost)
        self.solution.commit(Action.CONTINUE)
        self.solution.finish = finish

    async def close(self) -> None:
        """Cancel the request if it is under way."""
        self._is_closed = True
        if self._task and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _start(self, writer: Writer, strong_tokens: float) -> None:
        model = writer.model
        if not isinstance(model, WholeModel):
            raise InvalidInput(
                f"{model.name} writes steps only, no whole answer; name another model"
            )
        limits = (
            self.solution.config.max_tokens,
            strong_tokens if writer.author is Author.STRONG else None,
        )
        least = min((limit for limit in limits if limit is not None), default=math.inf)
        request = self._request(None if math.isinf(least) else int(least))
        loop = asyncio.get_running_loop()

        def on_text(text: str) -> bool:
            if self._is_closed or time.monotonic() >= self.solution.deadline:
                return True
            loop.call_soon_threadsafe(self._pieces.put_nowait, text)
            return False

        async def work() -> Completion:
            try:
                return await model.write_whole(request, on_text)
            finally:
                # After the pieces, which may come from another thread.
                loop.call_soon_threadsafe(self._pieces.put_nowait, None)

        self._writer = writer
        with until(self.solution.deadline):
            self._task = asyncio.create_task(work())

    def _request(self, limit: int | None) -> WholeRequest:
        solution = self.solution
        return WholeRequest(
            solution.question,
            solution.config.sampling,
            derive_seed(solution.seed, solution.question, 0),
            solution.history,
            limit,
            solution.config.stops,
            self.policy.prompted,
        )

    def _end(self, writer: Writer) -> None:
        """Make the whole answer the newest version; raises the error of the request."""
        assert self._task is not None
        task, self._task = self._task, None
        written = task.result()
        if written.ending is not Ending.LENGTH:
            written = replace(written, ending=Ending.SOLUTION)
        self._written = written
        if time.monotonic() >= self.solution.deadline and written.ending is Ending.LENGTH:
            raise ModelUnavailable(f"{writer.model.name}: {TIME_IS_UP}")
        self.is_complete = True
        self._add(writer, written)

    def _add(self, writer: Writer, written: Completion) -> None:
        self.solution.add_usage(writer.role, written)
        self.solution.add_version(writer, written, self.solution.seconds + written.seconds)
