"""What an operator sees: traffic, spending, latency, scores, faults and warnings."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trim.server.service import Service
from trim.server.storage.ledger import today
from trim.server.storage.traffic import SLICES, Count, Spent, Traffic

RECENT, EARLIER = 500, 2000
"""First drafts that are compared, at most."""
LEAST = 40
"""With fewer of both together nothing is said."""
BINS = 20
LEAST_DISTANCE, LEVEL = 0.1, 0.001
"""Warned of from this distance on, where so large a one is less likely than this by chance."""


@dataclass(frozen=True)
class ScoreDrift:
    """Newest first drafts against those before them.

    Attributes:
        distance: of Kolmogorov and Smirnov, in [0, 1]; None where there are too few.
        p_value: of so large a distance or a larger one, if nothing has changed.
    """

    recent: tuple[float, ...]
    earlier: tuple[float, ...]
    distance: float | None = None
    p_value: float | None = None

    @property
    def drifted(self) -> bool:
        return (
            self.distance is not None
            and self.p_value is not None
            and self.distance >= LEAST_DISTANCE
            and self.p_value < LEVEL
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "recent": histogram(self.recent),
            "earlier": histogram(self.earlier),
            "distance": self.distance,
            "p_value": self.p_value,
            "drifted": self.drifted,
        }


def score_drift(scores: Sequence[float]) -> ScoreDrift:
    """Compares scores, the newest first: up to 500, at most half, with up to 2,000 before."""
    # Slow to load, and of no use to a server that nobody looks at.
    from scipy.stats import ks_2samp

    border = min(RECENT, len(scores) // 2)
    recent, earlier = tuple(scores[:border]), tuple(scores[border:])
    if len(scores) < LEAST:
        return ScoreDrift(recent, earlier)
    found = ks_2samp(recent, earlier, method="asymp")
    return ScoreDrift(recent, earlier, float(found.statistic), float(found.pvalue))


def histogram(scores: Sequence[float]) -> list[int]:
    """How many lie in each twentieth of [0, 1]."""
    counts = [0] * BINS
    for score in scores:
        counts[min(int(score * BINS), BINS - 1)] += 1
    return counts


DAYS = 14
"""Days of spending that are shown, today included."""
FAILED_SHARE, FEWEST = 0.05, 20
"""Share of failed requests that is warned of, and of how many at least."""
MISSED = 0.05
"""By which the strong share may be above its target before it is warned of."""
NEARLY = 0.9
"""Share of a budget, or of the queue, from which it is warned of."""


async def overview(service: Service, hours: int) -> dict[str, Any]:
    """The newest `hours` in slices of equal length, spending of 14 days, and what is now."""
    traffic = Traffic(service.accounts.engine)
    width = hours * 3600 // SLICES
    # Slices that stand still while time goes on.
    since = (int(time.time()) // width + 1) * width - hours * 3600
    days, first = newest_days()
    counts = await traffic.counts(since, width)
    spent = await traffic.spending(days, first)
    scores = await traffic.first_scores(RECENT + EARLIER)
    drift = await asyncio.to_thread(score_drift, scores)
    desk, silent = service.desk, service.silent()
    share = strong_share(counts)
    target_share = service.controller.target if service.controller else None
    return {
        "since": since,
        "hours": hours,
        "width": width,
        "times": by_time(counts, since, width, hours),
        "routers": by_policy(counts),
        "outcomes": outcomes(counts),
        "strong_share": share,
        "target_share": target_share,
        "money": sum(count.money for count in counts),
        "spending": [asdict(one) for one in spent],
        "days": days,
        "latency": {str(q): s for q, s in (await traffic.latencies(since)).items()},
        "drift": drift.to_json(),
        "faults": await traffic.faults(since),
        "silent": silent,
        "running": desk.running,
        "waiting": desk.waiting,
        "limits": {"running": service.limits.running, "queue": service.limits.queue},
        "warnings": [
            *warnings(counts, spent, drift, share, target_share),
            *(f"{name} does not answer" for name in silent),
            *queue_warnings(desk.waiting, service.limits.queue),
        ],
    }


def newest_days() -> tuple[list[str], int]:
    """Names of the days of spending, the oldest first, and the second at which they begin."""
    begun = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [begun - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    return [day.date().isoformat() for day in days], int(days[0].timestamp())


def strong_share(counts: Sequence[Count]) -> float | None:
    """Strong tokens as a share of the tokens that were kept; None where there are none."""
    kept = sum(count.kept_tokens for count in counts)
    return sum(count.strong_tokens for count in counts) / kept if kept else None


def by_time(counts: Sequence[Count], since: int, width: int, hours: int) -> list[dict[str, Any]]:
    """One for each slice, those without requests included."""
    slices: dict[int, list[Count]] = {}
    for count in counts:
        slices.setdefault(count.time, []).append(count)
    return [
        {
            "time": start,
            "outcomes": outcomes(slices.get(start, ())),
            "strong_share": strong_share(slices.get(start, ())),
        }
        for start in range(since, since + hours * 3600, width)
    ]


def outcomes(counts: Sequence[Count]) -> dict[str, int]:
    """Requests by their end."""
    ended: Counter[str] = Counter()
    for count in counts:
        ended[count.finish] += count.requests
    return dict(ended)


def by_policy(counts: Sequence[Count]) -> list[dict[str, Any]]:
    """The most used first."""
    policies: dict[str, list[Count]] = {}
    for count in counts:
        policies.setdefault(count.policy, []).append(count)
    rows = [
        {
            "policy": policy,
            "requests": sum(count.requests for count in used),
            "strong_share": strong_share(used),
            "money": sum(count.money for count in used),
        }
        for policy, used in policies.items()
    ]
    return sorted(rows, key=lambda row: (-row["requests"], row["policy"]))


def warnings(
    counts: Sequence[Count],
    spent: Sequence[Spent],
    drift: ScoreDrift,
    share: float | None,
    target: float | None,
) -> Iterator[str]:
    ended = outcomes(counts)
    number, failed = sum(ended.values()), ended.get("failed", 0)
    if number >= FEWEST and failed >= FAILED_SHARE * number:
        yield f"{failed} of {number} requests failed"
    if share is not None and target is not None and share > target + MISSED:
        yield f"the strong share is {share:.1%}, above its target of {target:.1%}"
    if drift.drifted:
        yield (
            f"scores have drifted: the newest {len(drift.recent)} first drafts differ from the"
            f" {len(drift.earlier)} before (distance {drift.distance:.2f}); measure the scorer on"
            " fresh problems (`trim collect`, `trim audit`) and calibrate anew"
        )
    for one in spent:
        budgets = ((one.money, one.money_a_day), (one.strong_tokens, one.strong_tokens_a_day))
        if one.day == today() and any(b is not None and s >= NEARLY * b for s, b in budgets):
            yield f"the key {one.key} has spent at least {NEARLY:.0%} of its budget of today"


def queue_warnings(waiting: int, queue: int) -> Iterator[str]:
    if queue and waiting >= NEARLY * queue:
        yield f"{waiting} requests wait; {queue} may"
