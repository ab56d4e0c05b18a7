"""A simulated engine with given speeds: a queue, forward passes, a prefix cache; no model."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from simulated.speeds import Speeds


class PrefixCache:
    """A prefix cache of whole blocks, as in vLLM: a block is known with all blocks before it.

    Args:
        block: tokens per block.
        capacity: maximum number of blocks; the least recently used one is evicted.
    """

    def __init__(self, block: int, capacity: int) -> None:
        self.block = block
        self.capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def cached(self, tokens: Sequence[str]) -> int:
        """Number of cached leading tokens: whole blocks, never the last token."""
        found = 0
        for key in self._keys(tokens[:-1]):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            found += self.block
        return found

    def add(self, tokens: Sequence[str]) -> None:
        """Add the blocks of a sequence."""
        if not self.capacity:
            return
        # Last block first: the end of a sequence is evicted before its start.
        for key in reversed(list(self._keys(tokens))):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.capacity:
            self._blocks.popitem(last=False)

    def _keys(self, tokens: Sequence[str]) -> Iterator[int]:
        key = 0
        for end in range(self.block, len(tokens) + 1, self.block):
            key = hash((key, *tokens[end - self.block : end]))
            yield key


@dataclass(eq=False)
class Request:
    """A request under way.

    Attributes:
        prompt: its tokens.
        written: words that will be decoded; empty if only the prompt is read.
        tokens: number of tokens that will be decoded.
        due: time at which it may first be read.
        cached: number of prompt tokens found in the cache.
    """

    prompt: Sequence[str]
    written: Sequence[str]
    tokens: int
    due: float
    done: asyncio.Future[float]
    cached: int = 0
    dropped: bool = False


@dataclass
class EngineCounters:
    """Totals of an engine since its last reset.

    Attributes:
        read, cached, written: tokens; cached ones are not part of those read.
        busy: simulated seconds of forward passes.
        late: seconds of the loop's clock by which each answer was sent late.
    """

    requests: int = 0
    dropped: int = 0
    read: int = 0
    cached: int = 0
    written: int = 0
    busy: float = 0.0
    late: list[float] = field(default_factory=list)


class Engine:
    """Answers each request at the time at which an engine of these speeds would.

    Times of events are computed from earlier events, never from when a timer fired, so delays of
    the machine do not accumulate. Forward passes that only decode are not simulated one by
    one: while n sequences decode, each gains 1 / `Speeds.forward(n)` tokens per second. A pass
    that reads prompts also decodes one token of each sequence, as in vLLM.

    Args:
        scale: seconds of the loop's clock per simulated second.
    """

    def __init__(self, speeds: Speeds, scale: float = 1.0) -> None:
        self.speeds = speeds
        self.scale = scale
        self.reset()
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

    def reset(self) -> None:
        """Clear counters and cache."""
        self.counters = EngineCounters()
        self.cache = PrefixCache(self.speeds.block, self.speeds.cached_blocks)

    def now(self) -> float:
        """The current time in simulated seconds."""
        return asyncio.get_running_loop().time() / self.scale

    async def serve(
        self, prompt: Sequence[str], written: Sequence[str] = (), tokens: int = 0
    ) -> Request:
        """Wait until the prompt is read and `tokens` tokens with the words `written` are decoded.

        Cancelling the caller frees its slot at once.
        """
        now = self.now()
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        due = max(now + self.speeds.request_seconds, self._moment)
        request = Request(prompt, written, tokens, due, done)
        heapq.heappush(self._arriving, (due, next(self._order), request))
        self.counters.requests += 1
        self._advance(now)
        try:
            moment = await done
        except asyncio.CancelledError:
            self._drop(request)
            raise
        self.counters.late.append((self.now() - moment) * self.scale)
        return request

    def _advance(self, now: float) -> None:
        """Process all events up to `now`, in order, and set a timer for the next one."""
        while (moment := self._next()) <= now:
            self._move(moment)
            if self._arriving and self._arriving[0][0] <= moment:
                self._waiting.append(heapq.heappop(self._arriving)[2])
            elif self._pass_ends <= moment:
                self._end_pass(moment)
            else:
                self._finish(heapq.heappop(self._decoding)[2], moment)
            # Requests that arrive at the same time are read in the same pass.
            if not self._pass and self._next() > moment:
                self._begin_pass(moment)
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if moment < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(moment * self.scale, lambda: self._advance(self.now()))

    def _next(self) -> float:
        """The time of the next event."""
        arrival = self._arriving[0][0] if self._arriving else math.inf
        finish = math.inf
        if self._decoding:
            missing = max(self._decoding[0][0] - self._gained, 0.0)
            finish = self._moment + missing / self._rate
        return max(min(arrival, finish, self._pass_ends), self._moment)

    def _move(self, moment: float) -> None:
        if self._decoding or self._pass:
            self.counters.busy += moment - self._moment
        self._gained += (moment - self._moment) * self._rate
        self._moment = moment

    def _begin_pass(self, moment: float) -> None:
        """Read waiting requests that fit into one forward pass; without any, only decode."""
        read = 0
        while self._waiting and len(self._decoding) + len(self._pass) < self.speeds.sequences:
            request = self._waiting[0]
            request.cached = self.cache.cached(request.prompt)
            new = len(request.prompt) - request.cached
            if self._pass and read + new > self.speeds.batched_tokens:
                break
            read += new
            self.counters.cached += request.cached
            self._pass.append(self._waiting.popleft())
        decoding = len(self._decoding)
        self.counters.read += read
        if self._pass:
            seconds = self.speeds.forward(decoding + len(self._pass), read)
            self._pass_ends = moment + seconds
            self._rate = 1 / seconds
        else:
            self._rate = 1 / self.speeds.forward(decoding) if decoding else 0.0

    def _end_pass(self, moment: float) -> None:
        """Finish reading the prompts, which decodes the first token of each."""
        for request in self._pass:
            if request.tokens <= 1:
                self._finish(request, moment)
            elif not request.dropped:
                self.cache.add(request.prompt)
                end = self._gained + request.tokens - 1
                heapq.heappush(self._decoding, (end, next(self._order), request))
        self._pass, self._pass_ends = [], math.inf

    def _finish(self, request: Request, moment: float) -> None:
        if request.dropped:
            return
        self.counters.written += request.tokens
        self.cache.add([*request.prompt, *request.written])
        if not request.done.done():
            request.done.set_result(moment)

    def _drop(self, request: Request) -> None:
        """Drop a cancelled request; its decoded tokens stay counted."""
        now = self.now()
        self._advance(now)
        if request.done.done() and not request.done.cancelled():
            return
        self._move(max(now, self._moment))
        request.dropped = True
        self.counters.dropped += 1
        for end, order, other in self._decoding:
            if other is request:
                self.counters.written += request.tokens - math.ceil(end - self._gained)
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
