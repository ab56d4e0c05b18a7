"""Watches a router at work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from trim.monitoring.checks import (
    Warning,
    denied_wishes,
    drift_of_scores,
    drift_of_wishes,
    drop_after_rewrites,
    few_rewrites,
)
from trim.monitoring.profile import Profile, RouteRecord, route_record
from trim.types import Trace

FIRST_LOOK = 25
"""Problems before the first tests."""
WINDOW = 1000
"""Problems that are remembered."""
FALSE_ALARMS = 0.002
"""Probability that a test ever warns where nothing is wrong; the five together: 1 %."""


class Watch:
    """Sees problems as they are solved, and warns of the method's three failures.

    It looks at what it has seen after 25 problems, 50, 100 and so on to 1,600, then after
    every further 1,000, each time at the newest 1,000. Look k of each test may spend
    0.002 / (k (k + 1)) of false alarms, 0.001 at the first; all looks together spend 0.002,
    however long it runs. Memory is bounded by the window.
    """

    def __init__(self, profile: Profile | None = None) -> None:
        """`profile` is the calibration's; without one, scores are not compared with any."""
        self.profile = profile
        self._walks: deque[RouteRecord] = deque(maxlen=WINDOW)
        self._seen = self._looked = self._looks = 0
        self._next = FIRST_LOOK
        self._found: dict[int, Warning] = {}

    def see(self, trace: Trace) -> None:
        """Take note of a solved problem; one without a score says nothing."""
        self.add(route_record(trace))

    def add(self, walk: RouteRecord) -> None:
        if not walk.scores:
            return
        self._walks.append(walk)
        self._seen += 1
        if self._seen == self._next:
            self.look()
            self._next += min(self._seen, WINDOW)

    def look(self) -> None:
        """Test now, out of turn; worth it at the end of a run. It spends a look's share."""
        if self._looked == self._seen:
            return
        self._looked = self._seen
        self._looks += 1
        level = FALSE_ALARMS / (self._looks * (self._looks + 1))
        for test, warning in enumerate(self._suspicions()):
            if warning and (warning.p_value or 0) < level:
                self._found[test] = warning

    def warnings(self) -> tuple[Warning, ...]:
        """What was found in any look, with the newest figures that were significant."""
        return tuple(self._found[test] for test in sorted(self._found))

    def _suspicions(self) -> Iterator[Warning | None]:
        walks = tuple(self._walks)
        yield drift_of_scores(walks, self.profile) if self.profile else None
        yield drift_of_wishes(walks, self.profile) if self.profile else None
        yield drop_after_rewrites(walks, self.profile)
        yield denied_wishes(walks)
        yield few_rewrites(walks)
