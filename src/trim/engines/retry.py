"""How long and how often a server is asked before a request counts as failed."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from trim.errors import InvalidInput

_moment: ContextVar[float] = ContextVar("deadline", default=math.inf)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Within it, `seconds_left` counts down to `moment` of `time.monotonic`, or to an earlier one
    that holds already."""
    token = _moment.set(min(moment, _moment.get()))
    try:
        yield
    finally:
        _moment.reset(token)


def seconds_left() -> float:
    """Seconds that the problem may still take: infinite without a deadline, below 0 after it."""
    return _moment.get() - time.monotonic()


@dataclass
class Breaker:
    """Opens after `failures` in a row; then one trial request at a time is let through.

    Moments are those of any clock that does not run backwards, in seconds.

    Attributes:
        failures: failures in a row after which it opens.
        pause: seconds before the first trial; twice as long after each trial.
        longest: seconds that a pause may grow to.
        outage: seconds of failures after which requests fail at once instead of waiting for
            the next trial.
    """

    failures: int = 8
    pause: float = 0.5
    longest: float = 30.0
    outage: float = 60.0
    _count: int = field(default=0, init=False)
    _trials: int = field(default=0, init=False)
    _failing_since: float | None = field(default=None, init=False)
    _closed_until: float = field(default=0.0, init=False)

    @property
    def is_open(self) -> bool:
        return self._count >= self.failures

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent; with 0 this request is let through.

        Of an open breaker the one that is let through is the trial: the others wait for it
        or, if it never comes back, for the pause after it.
        """
        if not self.is_open:
            return 0.0
        if now < self._closed_until:
            return self._closed_until - now
        self._trials += 1
        self._closed_until = now + self._pause()
        return 0.0

    def is_dead(self, now: float) -> bool:
        """Whether the server has failed for so long that nobody should wait for it."""
        since = self._failing_since
        return self.is_open and since is not None and now - since > self.outage

    def succeeded(self) -> None:
        self._count, self._trials, self._failing_since = 0, 0, None

    def failed(self, now: float) -> None:
        self._count += 1
        if self._failing_since is None:
            self._failing_since = now
        # Later failures are those of a trial, whose pause has begun, or of requests that were
        # under way already and say nothing new.
        if self._count == self.failures:
            self._closed_until = now + self._pause()

    def _pause(self) -> float:
        return min(self.pause * 2.0 ** min(self._trials, 60), self.longest)


@dataclass(frozen=True)
class RetryPolicy:
    """Pauses grow by a factor of two, with jitter, so that clients do not come back at once.

    Attributes:
        seconds: that one request may take.
        attempts: times that a request is sent in all.
        pause: seconds before the second attempt, half of it by chance.
        longest: seconds that a pause may grow to.
        longest_wish: seconds that a server may wish to be left alone; a longer wish ends the
            request.
    """

    seconds: float = 300.0
    attempts: int = 8
    pause: float = 0.25
    longest: float = 20.0
    longest_wish: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInput(f"attempts {self.attempts}: a request needs at least one")
        if not min(self.seconds, self.longest) > 0 or not self.pause >= 0:
            raise InvalidInput("a request's seconds and its longest pause must be above 0")

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, counted from 0, which need not wait."""
        if attempt == 0:
            return 0.0
        whole = min(self.pause * 2.0 ** min(attempt - 1, 60), self.longest)
        return whole * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server wishes to be left alone, at least 0 (RFC 9110, section 10.2.3).

    A number of seconds or a date; 0 where it says neither.
    """
    value = headers.get("Retry-After", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(moment - time.time(), 0.0)
