"""Retries with backoff, deadlines and a circuit breaker for requests to a server.

Own code, since no library combines the three with what is shared by all requests to one server:
`Retry-After` pauses the whole server, an open breaker lets one trial through while the others
wait for it, and every pause ends with the problem's deadline.
"""

from __future__ import annotations

import email.utils
import math
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from trim.errors import InvalidInput

_moment: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Set the deadline of the enclosed code, in `time.monotonic`; an earlier one stays."""
    token = _moment.set(min(moment, _moment.get()))
    try:
        yield
    finally:
        _moment.reset(token)


def seconds_left() -> float:
    """Seconds until the deadline: infinite without one, negative after it."""
    return _moment.get() - time.monotonic()


@dataclass
class CircuitBreaker:
    """Opens after `failures` in a row; then one trial request at a time is let through.

    Times are those of a monotonic clock, in seconds.

    Attributes:
        failures: failures in a row after which it opens.
        pause: seconds before the first trial; twice as long after each trial.
        max_pause: upper limit of a pause, in seconds.
        outage: seconds of failures after which requests fail at once instead of waiting for
            the next trial.
    """

    failures: int = 8
    pause: float = 0.5
    max_pause: float = 30.0
    outage: float = 60.0
    _count: int = field(default=0, init=False)
    _trials: int = field(default=0, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _closed_until: float = field(default=0.0, init=False)

    @property
    def is_open(self) -> bool:
        return self._count >= self.failures

    def is_due(self, now: float) -> bool:
        """Whether the next request would be let through as a trial."""
        return self.is_open and now >= self._closed_until

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; with 0 this request is let through.

        While the breaker is open, that request is the trial; the others wait for its result or,
        if it never returns, for the pause after it.
        """
        if not self.is_open:
            return 0.0
        if now < self._closed_until:
            return self._closed_until - now
        self._trials += 1
        self._closed_until = now + self._pause()
        return 0.0

    def is_dead(self, now: float) -> bool:
        """Whether the server has failed for longer than `outage`: requests should fail at once."""
        since = self._failing_since
        return self.is_open and since is not None and now - since > self.outage

    def succeeded(self) -> None:
        self._count, self._trials, self._failing_since = 0, 0, None

    def failed(self, now: float) -> None:
        self._count += 1
        if self._failing_since is None:
            self._failing_since = now
        # Later failures belong to a trial, whose pause has begun, or to requests that were already
        # in flight.
        if self._count == self.failures:
            self._closed_until = now + self._pause()

    def _pause(self) -> float:
        return min(self.pause * 2.0 ** min(self._trials, 60), self.max_pause)


@dataclass
class RequestedPause:
    """The pause that a server asked all clients for.

    A pause of up to `limit` seconds is waited for. In a longer one requests fail at once, and after
    every `limit` seconds one of them is sent as a trial: an answer to it ends the pause.

    Times are those of a monotonic clock, in seconds.

    Attributes:
        seconds: as asked for last.
    """

    limit: float = 300.0
    seconds: float = field(default=0.0, init=False)
    _until: float = field(default=0.0, init=False)
    _long: bool = field(default=False, init=False)

    def ask(self, seconds: float, now: float) -> None:
        """Begin a pause, or extend the present one; 0 seconds change nothing."""
        if seconds <= 0:
            return
        long, until = seconds > self.limit, now + min(seconds, self.limit)
        self._until = max(self._until, until) if long == self._long else until
        self.seconds, self._long = seconds, long

    def answered(self) -> None:
        """End a long pause, since the server answered."""
        if self._long:
            self._until, self._long = 0.0, False

    def fails_at(self, now: float) -> bool:
        """Whether requests fail at once."""
        return self._long and now < self._until

    def sent(self, now: float) -> None:
        """A request is sent. In a long pause it is the trial: the others fail until its answer, or
        for another `limit` seconds."""
        if self._long:
            self._until = now + self.limit

    def wait(self, now: float) -> float:
        """Seconds that this request waits for, at most `limit`."""
        return 0.0 if self._long else max(self._until - now, 0.0)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is sent: exponential backoff by a factor of two, with jitter.

    Attributes:
        seconds: time limit of one request.
        attempts: how often a request is sent in all, at least 1.
        pause: seconds before the second attempt; a random half of it is left out.
        max_pause: upper limit of a pause, in seconds.
        max_retry_after: longest `Retry-After` that is waited for, in seconds; during a longer one
            requests fail at once, but for a trial after each such time.
    """

    seconds: float = 300.0
    attempts: int = 8
    pause: float = 0.25
    max_pause: float = 20.0
    max_retry_after: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInput(f"attempts {self.attempts}: a request needs at least one")
        if not min(self.seconds, self.max_pause) > 0 or not self.pause >= 0:
            raise InvalidInput("a request's seconds and its longest pause must be above 0")

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt; attempts count from 0, which needs no wait."""
        if attempt == 0:
            return 0.0
        whole = min(self.pause * 2.0 ** min(attempt - 1, 60), self.max_pause)
        return whole * random.uniform(0.5, 1.0)


LONGEST_RETRY_AFTER = 86_400.0
"""Seconds as which any longer `Retry-After` counts."""
SECONDS = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?")


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds after which a server asks clients to retry, from 0 to a day (RFC 9110, 10.2.3).

    The header holds seconds or a date; 0 for anything else.
    """
    value = headers.get("Retry-After", "").strip()[:100]
    if SECONDS.fullmatch(value):
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, ArithmeticError, LookupError, OSError):
        return 0.0
    return min(max(moment - time.time(), 0.0), LONGEST_RETRY_AFTER)
