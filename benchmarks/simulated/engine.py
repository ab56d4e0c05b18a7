"""One engine with stated speeds: a queue, forward passes, a prefix cache; no model."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from simulated.cache import PrefixCache
from simulated.speeds import Speeds


@dataclass(eq=False)
class Request:
    """A request under way.

    Attributes:
        prompt: its tokens.
        written: tokens that will be written; none where only the prompt is read.
        due: the moment at which it may first be read.
        cached: tokens of the prompt that the cache held.
    """

    prompt: Sequence[str]
    written: Sequence[str]
    tokens: int
    due: float
    done: asyncio.Future[float]
    cached: int = 0
    dropped: bool = False


@dataclass
class ReplayState:
    """What an engine has done.

    Attributes:
        read, cached, written: tokens; cached ones were not read.
        busy: simulated seconds in which a forward pass was under way.
        late: seconds of the loop's clock between each answer's moment and its sending.
    """

    requests: int = 0
    dropped: int = 0
    read: int = 0
    cached: int = 0
    written: int = 0
    busy: float = 0.0
    late: list[float] = field(default_factory=list)


class Engine:
    """Answers each request at the moment at which an engine of these speeds would.

    All moments are computed from earlier ones and never from when a timer went off, so what the
    machine is late by does not add up. Forward passes that only decode are not simulated one by
    one: while n sequences decode, each gains 1 / `Speeds.forward(n)` tokens a second. A pass that
    reads prompts writes one token of each sequence as well, as vLLM's passes do.

    Args:
        scale: seconds of the loop's clock for a simulated second.
    """

    def __init__(self, speeds: Speeds, scale: float = 1.0) -> None:
        self.speeds = speeds
        self.scale = scale
        self.forget()
        self._order = count()
        self._arriving: list[tuple[float, int, Request]] = []
        self._waiting: deque[Request] = deque()
        self._pass: list[Request] = []
        self._pass_ends = math.inf
        self._decoding: list[tuple[float, int, Request]] = []
        self._gained = 0.0
        self._rate = 0.0
        self._moment = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def forget(self) -> None:
        """Begin new books and an empty cache."""
        self.books = ReplayState()
        self.cache = PrefixCache(self.speeds.block, self.speeds.cached_blocks)

    def now(self) -> float:
        """Simulated seconds."""
        return asyncio.get_running_loop().time() / self.scale

    async def serve(
        self, prompt: Sequence[str], written: Sequence[str] = (), tokens: int = 0
    ) -> Request:
        """Until the prompt is read and `tokens` tokens, which say `written`, are decoded.

        A caller that is cancelled gives its place free at once.
        """
        now = self.now()
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        due = max(now + self.speeds.request_seconds, self._moment)
        request = Request(prompt, written, tokens, due, done)
        heapq.heappush(self._arriving, (due, next(self._order), request))
        self.books.requests += 1
        self._advance(now)
        try:
            moment = await done
        except asyncio.CancelledError:
            self._drop(request)
            raise
        self.books.late.append((self.now() - moment) * self.scale)
        return request

    def _advance(self, now: float) -> None:
        """All that happens up to `now`, in order, and a timer for what comes next."""
        while (moment := self._next()) <= now:
            self._move(moment)
            if self._arriving and self._arriving[0][0] <= moment:
                self._waiting.append(heapq.heappop(self._arriving)[2])
            elif self._pass_ends <= moment:
                self._end_pass(moment)
            else:
                self._finish(heapq.heappop(self._decoding)[2], moment)
            # What comes at the same moment is read in the same pass.
            if not self._pass and self._next() > moment:
                self._begin_pass(moment)
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if moment < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(moment * self.scale, lambda: self._advance(self.now()))

    def _next(self) -> float:
        """The moment of the next event."""
        arrival = self._arriving[0][0] if self._arriving else math.inf
        finish = math.inf
        if self._decoding:
            missing = max(self._decoding[0][0] - self._gained, 0.0)
            finish = self._moment + missing / self._rate
        return max(min(arrival, finish, self._pass_ends), self._moment)

    def _move(self, moment: float) -> None:
        if self._decoding or self._pass:
            self.books.busy += moment - self._moment
        self._gained += (moment - self._moment) * self._rate
        self._moment = moment

    def _begin_pass(self, moment: float) -> None:
        """Read what is waiting and fits into one forward pass; without any, only decode."""
        read = 0
        while self._waiting and len(self._decoding) + len(self._pass) < self.speeds.sequences:
            request = self._waiting[0]
            request.cached = self.cache.cached(request.prompt)
            new = len(request.prompt) - request.cached
            if self._pass and read + new > self.speeds.batched_tokens:
                break
            read += new
            self.books.cached += request.cached
            self._pass.append(self._waiting.popleft())
        decoding = len(self._decoding)
        self.books.read += read
        if self._pass:
            seconds = self.speeds.forward(decoding + len(self._pass), read)
            self._pass_ends = moment + seconds
            self._rate = 1 / seconds
        else:
            self._rate = 1 / self.speeds.forward(decoding) if decoding else 0.0

    def _end_pass(self, moment: float) -> None:
        """The prompts are read, and with each its first token is written."""
        for request in self._pass:
            if request.tokens <= 1:
                self._finish(request, moment)
            elif not request.dropped:
                self.cache.keep(request.prompt)
                end = self._gained + request.tokens - 1
                heapq.heappush(self._decoding, (end, next(self._order), request))
        self._pass, self._pass_ends = [], math.inf

    def _finish(self, request: Request, moment: float) -> None:
        if request.dropped:
            return
        self.books.written += request.tokens
        self.cache.keep([*request.prompt, *request.written])
        if not request.done.done():
            request.done.set_result(moment)

    def _drop(self, request: Request) -> None:
        """Forget a request whose caller has gone; what it has written stays counted."""
        now = self.now()
        self._advance(now)
        if request.done.done() and not request.done.cancelled():
            return
        self._move(max(now, self._moment))
        request.dropped = True
        self.books.dropped += 1
        for end, order, other in self._decoding:
            if other is request:
                self.books.written += request.tokens - math.ceil(end - self._gained)
                self._decoding.remove((end, order, other))
                heapq.heapify(self._decoding)
                break
        self._arriving = [entry for entry in self._arriving if entry[2] is not request]
        heapq.heapify(self._arriving)
        if request in self._waiting:
            self._waiting.remove(request)
        if not self._pass:
            self._begin_pass(self._moment)
        self._advance(now)
