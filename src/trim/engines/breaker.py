"""A circuit breaker: a server that fails again and again is left alone for a while."""

from __future__ import annotations

from dataclasses import dataclass, field


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
