"""Writing a whole answer: one request, whose pieces are passed on as they are decoded."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from trim.engines.retry import until
from trim.errors import ModelUnavailable
from trim.events import SpanWritten
from trim.loop.solution import TIME_IS_UP, Solution, Writer
from trim.models.model import Completion, Ending
from trim.models.usage import tokens_after, tokens_in
from trim.models.whole import WholeRequest, require_whole
from trim.numerics import derive_seed
from trim.policies.whole import WholeAnswer
from trim.types import Action, Usage, Whole

MOST_TOKENS = 1 << 20
"""Largest limit of an answer that is sent to an engine; some take no larger number."""


def unlimited() -> float:
    return math.inf


class WholeWriter:
    """Writes the only step of a solution that one model answers whole.

    While the answer is under way, `Solution.usage` has its cost so far: a token for each piece. It
    grows, and limits apply, however slowly the pieces are taken by `write`.

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
        self._started = 0.0
        self._is_cancelled = False
        self._is_closed = False
        self._taken = 0
        self._allowed = 0.0
        self._left: Callable[[], float] = unlimited
        self._written: Completion | None = None
        solution.whole = Whole(policy.role, policy.reason)

    @property
    def writer(self) -> Writer | None:
        """The model that is writing; None before and after."""
        return self._writer if self._task else None

    @property
    def has_begun(self) -> bool:
        """Whether a part of the answer was decoded; the client has it, or is about to."""
        return bool(self._begun)

    async def write(
        self, writer: Writer, limit: float, left: Callable[[], float] = unlimited
    ) -> SpanWritten:
        """The next pieces of the answer; the last ones may be empty.

        Args:
            limit: tokens that the answer may have at most.
            left: returns the tokens that it may still have; read at each piece.

        Raises:
            InvalidInput: the model does not write whole answers.
            ContextExceeded, ModelUnavailable: as `WholeModel.write_whole`.
        """
        if self._task is None:
            self._left, self._allowed = left, left()
            self._start(writer, limit)
        pieces = [await self._pieces.get()]
        while not self._pieces.empty():
            pieces.append(self._pieces.get_nowait())
        texts = [piece for piece in pieces if piece is not None]
        if len(texts) < len(pieces):
            self._end(writer)
        return SpanWritten(1, writer.author, "".join(texts), len(texts))

    def cut(self) -> None:
        """Keep and count what was written of an answer that cannot be finished.

        Before the first piece of one that was cancelled, or ended by the deadline, the tokens are
        estimated by the time since the request.
        """
        if self.is_complete or self._writer is None:
            return
        if not self._begun:
            if self._is_cancelled or time.monotonic() >= self.solution.deadline:
                limit = self.solution.config.sampling.max_tokens
                tokens = tokens_after(time.monotonic() - self._started, limit)
                spent = replace(self._cost(), tokens=tokens)
                self.solution.under_way = (self._writer.role, spent) if tokens else None
            return
        cost, finish = self._cost(), self.solution.finish
        text = Completion("".join(self._begun), Ending.LENGTH, cost.tokens, cost.prompt_tokens)
        self._add(self._writer, self._written or text)
        self.solution.commit(Action.CONTINUE)
        self.solution.finish = finish

    async def close(self) -> None:
        """Cancel the request if it is under way."""
        self._allowed, self._is_closed = 0, True
        if self._task and not self._task.done():
            self._is_cancelled = True
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _start(self, writer: Writer, limit: float) -> None:
        model, solution = require_whole(writer.model), self.solution
        request = WholeRequest(
            solution.question,
            solution.config.sampling,
            derive_seed(solution.seed, solution.question, 0),
            solution.history,
            None if math.isinf(limit) else int(min(limit, MOST_TOKENS)),
            solution.config.stops,
            self.policy.prompted,
        )
        loop = asyncio.get_running_loop()

        def on_text(text: str) -> bool:
            if self._taken >= self._allowed or time.monotonic() >= solution.deadline:
                return True
            self._taken += 1
            loop.call_soon_threadsafe(self._add_piece, writer, text)
            return False

        async def work() -> Completion:
            try:
                return await model.write_whole(request, on_text)
            finally:
                # After the pieces, which may come from another thread.
                loop.call_soon_threadsafe(self._pieces.put_nowait, None)

        self._writer, self._started = writer, time.monotonic()
        with until(solution.deadline):
            self._task = asyncio.create_task(work())

    def _add_piece(self, writer: Writer, text: str) -> None:
        if self._is_closed:
            return
        self._begun.append(text)
        self.solution.under_way = writer.role, self._cost()
        self._allowed = len(self._begun) + self._left()
        self._pieces.put_nowait(text)

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

    def _cost(self) -> Usage:
        """An estimate of what the answer has cost so far."""
        texts = [*(turn.text for turn in self.solution.history), self.solution.question]
        return Usage(tokens_in(texts), 0, len(self._begun), 1)

    def _add(self, writer: Writer, written: Completion) -> None:
        self.solution.under_way = None
        self.solution.add_usage(writer.role, written)
        self.solution.add_version(writer, written, self.solution.seconds + written.seconds)
