"""The data of the operator's page: traffic, spending, latency, scores, faults and warnings."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from trim.costs import Prices
from trim.policies.whole import is_outside
from trim.server.service import Service
from trim.server.storage.ledger import today
from trim.server.storage.traffic import SLICES, Count, Spent, Traffic

RECENT, EARLIER = 500, 2000
"""Largest numbers of first drafts to compare."""
LEAST = 40
"""Smallest number of first drafts to compare."""
BINS = 20
LEAST_DISTANCE, LEVEL = 0.1, 0.001
"""Smallest distance and largest p-value for a warning."""


@dataclass(frozen=True)
class ScoreDrift:
    """A comparison of the newest first drafts with those before them.

    Attributes:
        distance: Kolmogorov–Smirnov distance, in [0, 1]; None if there are too few.
        p_value: of the two-sample test; None if there are too few.
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
    """Compare scores, newest first: up to 500, at most half, with up to 2,000 before them."""
    # Slow to import, and needed for this page only.
    from scipy.stats import ks_2samp

    split = min(RECENT, len(scores) // 2)
    recent, earlier = tuple(scores[:split]), tuple(scores[split:])
    if len(scores) < LEAST:
        return ScoreDrift(recent, earlier)
    found = ks_2samp(recent, earlier, method="asymp")
    return ScoreDrift(recent, earlier, float(found.statistic), float(found.pvalue))


def histogram(scores: Sequence[float]) -> list[int]:
    """Counts of scores in each twentieth of [0, 1]."""
    counts = [0] * BINS
    for score in scores:
        counts[min(int(score * BINS), BINS - 1)] += 1
    return counts


DAYS = 14
"""Days of spending shown, including today."""
FAILED_SHARE, LEAST_REQUESTS = 0.05, 20
"""Smallest share of failed requests, and number of requests, for a warning."""
TOLERANCE = 0.05
"""Excess of the strong share over its target for a warning."""
NOT_ROUTED = ("", "strong", "passthrough")
"""Policies of requests that had not begun, or that the strong model answered alone."""
NEARLY = 0.9
"""Share of a budget, or of the queue, for a warning."""


async def overview(service: Service, hours: int) -> dict[str, Any]:
    """The last `hours` in slices of equal length, spending of 14 days, and the present load."""
    traffic = Traffic(service.accounts.engine)
    width = hours * 3600 // SLICES
    # Aligned to multiples of the width: slices stay the same between requests.
    since = (int(time.time()) // width + 1) * width - hours * 3600
    days, first = newest_days()
    counts = await traffic.counts(since, width)
    spent = await traffic.spending(days, first)
    scorer = service.scorer
    scores = await traffic.first_scores(scorer.name, RECENT + EARLIER) if scorer else []
    drift = await asyncio.to_thread(score_drift, scores)
    queue, silent = service.queue, service.unreachable()
    share = strong_share(counts)
    controlled = [count for count in counts if count.controlled]
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
        "currency": service.prices.currency,
        "saved": saved(counts, service.prices),
        "keeps_texts": service.accounts.keep_texts,
        "spending": [asdict(one) for one in spent],
        "days": days,
        "latency": {str(q): s for q, s in (await traffic.latencies(since)).items()},
        "drift": drift.to_json(),
        "faults": await traffic.faults(since),
        "silent": silent,
        "running": queue.running,
        "waiting": queue.waiting,
        "limits": {"running": service.limits.running, "queue": service.limits.queue},
        "warnings": [
            *warnings(counts, spent, drift, strong_share(controlled), target_share),
            *(f"{name} does not answer" for name in silent),
            *queue_warnings(queue.waiting, service.limits.queue),
        ],
    }


def newest_days() -> tuple[list[str], int]:
    """Dates of the days of spending, oldest first, and their start in seconds since 1970."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    return [day.date().isoformat() for day in days], int(days[0].timestamp())


def strong_share(counts: Sequence[Count]) -> float | None:
    """Strong tokens as a share of kept tokens; None without any."""
    kept = sum(count.kept_tokens for count in counts)
    return sum(count.strong_tokens for count in counts) / kept if kept else None


def saved(counts: Sequence[Count], prices: Prices) -> dict[str, Any] | None:
    """Money of routed requests, and an estimate of it for the strong model alone.

    The estimate prices all kept tokens as output of the strong model and leaves its prompts out,
    which are not known. None without a price or without routed tokens.
    """
    routed = [
        count for count in counts if count.policy not in NOT_ROUTED and not is_outside(count.policy)
    ]
    tokens = sum(count.kept_tokens for count in routed)
    if not tokens or not prices.strong.output:
        return None
    return {
        "money": sum(count.money for count in routed),
        "strong_alone": tokens * prices.strong.output / 1e6,
        "tokens": tokens,
        "requests": sum(count.requests for count in routed),
    }


def by_time(counts: Sequence[Count], since: int, width: int, hours: int) -> list[dict[str, Any]]:
    """One record for each slice, including slices without requests."""
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
    """Numbers of requests by finish."""
    ended: Counter[str] = Counter()
    for count in counts:
        ended[count.finish] += count.requests
    return dict(ended)


def by_policy(counts: Sequence[Count]) -> list[dict[str, Any]]:
    """One record for each policy, the most used first."""
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
    """The warnings of the traffic.

    Args:
        share: strong share of the requests that the controller decided; None without any.
        target: of the controller; None without one.
    """
    ended = outcomes(counts)
    number, failed = sum(ended.values()), ended.get("failed", 0)
    if number >= LEAST_REQUESTS and failed >= FAILED_SHARE * number:
        yield f"{failed} of {number} requests failed"
    if share is not None and target is not None and share > target + TOLERANCE:
        yield f"the strong share is {share:.1%}, above its target of {target:.1%}"
    if drift.drifted:
        yield (
            f"scores have drifted: the newest {len(drift.recent)} first drafts differ from the"
            f" {len(drift.earlier)} before (distance {drift.distance:.2f}); measure the scorer on"
            " fresh problems (`trim collect`, `trim audit`) and calibrate again"
        )
    for one in spent:
        share = spent_share(one)
        if one.day == today() and share >= NEARLY:
            part = "more than nothing" if math.isinf(share) else f"{math.floor(100 * share)} %"
            yield f"the key {one.key} has spent {part} of its budget for today"


def spent_share(spent: Spent) -> float:
    """The larger share of a key's two budgets that is spent; 0 without budgets."""
    budgets = (
        (spent.money, spent.money_a_day),
        (spent.strong_tokens, spent.strong_tokens_a_day),
    )
    return max(
        (
            done / budget if budget else math.inf if done else 0.0
            for done, budget in budgets
            if budget is not None
        ),
        default=0.0,
    )


def queue_warnings(waiting: int, queue: int) -> Iterator[str]:
    if queue and waiting >= NEARLY * queue:
        yield f"{waiting} requests are waiting; the limit is {queue}"
