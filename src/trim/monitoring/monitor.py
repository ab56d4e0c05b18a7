"""Watches a router at run time and warns of failures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from trim.monitoring.checks import (
    RouterWarning,
    denied_rewrites,
    few_rewrites,
    rewrite_rate_drift,
    score_drift,
    score_drop_after_rewrites,
)
from trim.monitoring.profile import Profile, RouteRecord, route_record
from trim.types import Trace

FIRST_CHECK = 25
"""Problems before the first check."""
WINDOW = 1000
"""Problems kept in memory; each check uses the newest of them."""
FALSE_ALARM_RATE = 0.002
"""P(a test ever warns | nothing is wrong); 1 % for the five tests together."""


class Monitor:
    """Collects solved problems and warns of the method's three failures.

    It checks after 25, 50, 100, ... 1,600 problems, then after every further 1,000, on the
    newest 1,000. Check k of each test has the level 0.002 / (k (k + 1)) (alpha spending: 0.001
    at the first); all checks together spend 0.002, for any length of the run. Memory is bounded
    by the window.

    Args:
        profile: of the calibration; None disables the tests against it.
    """

    def __init__(self, profile: Profile | None = None) -> None:
        self.profile = profile
        self._records: deque[RouteRecord] = deque(maxlen=WINDOW)
        self._seen = self._checked = self._checks = 0
        self._next = FIRST_CHECK
        self._found: dict[int, RouterWarning] = {}

    def observe(self, trace: Trace) -> None:
        """Add a solved problem; traces without scores are ignored."""
        self.add(route_record(trace))

    def add(self, record: RouteRecord) -> None:
        """Add the record of a solved problem; ignored without scores."""
        if not record.scores:
            return
        self._records.append(record)
        self._seen += 1
        if self._seen == self._next:
            self.check()
            self._next += min(self._seen, WINDOW)

    def check(self) -> None:
        """Run all tests now, such as at the end of a run. It spends the level of one check."""
        if self._checked == self._seen:
            return
        self._checked = self._seen
        self._checks += 1
        level = FALSE_ALARM_RATE / (self._checks * (self._checks + 1))
        for test, warning in enumerate(self._results()):
            if warning and (warning.p_value or 0) < level:
                self._found[test] = warning

    def warnings(self) -> tuple[RouterWarning, ...]:
        """Warnings of all checks so far, one per test, with its latest significant figures."""
        return tuple(self._found[test] for test in sorted(self._found))

    def _results(self) -> Iterator[RouterWarning | None]:
        records = tuple(self._records)
        yield score_drift(records, self.profile) if self.profile else None
        yield rewrite_rate_drift(records, self.profile) if self.profile else None
        yield score_drop_after_rewrites(records, self.profile)
        yield denied_rewrites(records)
        yield few_rewrites(records)
