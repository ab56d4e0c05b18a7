"""Total cost of each policy relative to the strong model alone, and whether routing pays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trim.costs import Prices, hidden_strong_usage
from trim.evaluation.comparison import Weights, with_interval
from trim.metrics.metrics import ROUNDING, Array, pgr
from trim.policies.policy import policy_name
from trim.types import Trace

Level = Literal["less", "same", "more"]

OUTCOMES: Mapping[tuple[Level | None, Level], tuple[str, bool | None]] = {
    ("less", "less"): ("routing pays here", True),
    ("less", "same"): ("routing pays here", True),
    ("less", "more"): ("routing saves money and costs time", None),
    ("same", "less"): ("routing saves time at about the same money", True),
    ("same", "same"): ("no difference is shown", None),
    ("same", "more"): ("routing loses here", False),
    ("more", "less"): ("routing saves time and costs money", None),
    ("more", "same"): ("routing loses here", False),
    ("more", "more"): ("routing loses here", False),
    (None, "less"): ("routing saves time here", True),
    (None, "same"): ("no difference in time is shown", None),
    (None, "more"): ("routing loses time here", False),
}
"""Outcome in words, and whether routing pays, by the levels of money (None: unbilled) and time."""


@dataclass(frozen=True)
class CostComparison:
    """Total cost of a policy and of the strong model alone.

    Attributes:
        money, seconds: of the policy, per problem; `money` is None if nothing is billed.
        strong_money, strong_seconds: of the strong model alone.
        money_interval, seconds_interval: 95 % intervals of the ratios; None if unknown.
    """

    money: float | None
    seconds: float
    strong_money: float | None
    strong_seconds: float
    money_interval: Sequence[float] | None = None
    seconds_interval: Sequence[float] | None = None

    @property
    def levels(self) -> tuple[Level | None, Level]:
        """Levels of money and of seconds."""
        seconds = level(self.seconds, self.strong_seconds, self.seconds_interval)
        if self.money is None or self.strong_money is None:
            return None, seconds
        return level(self.money, self.strong_money, self.money_interval), seconds

    def describe(self, each: str = "") -> str:
        """Both totals and those of the strong model alone, as the predicate of a sentence.

        Args:
            each: unit after the totals, as " a problem".
        """
        spent = f"{amount(self.seconds)} s", f"{amount(self.strong_seconds)} s"
        times = times_of(self.seconds, self.strong_seconds, self.seconds_interval)
        alone = "for the strong model alone"
        if self.money is None or self.strong_money is None:
            return f"takes {spent[0]}{each} against {spent[1]} {alone}{times}"
        paid = times_of(self.money, self.strong_money, self.money_interval)
        return (
            f"costs {amount(self.money)}{each} against {amount(self.strong_money)} {alone}{paid}"
            f" and takes {spent[0]} against {spent[1]}{times}"
        )


def level(cost: float, strong: float, interval: Sequence[float] | None) -> Level:
    """Whether a cost is shown to be less or more than the strong model's, else `same`.

    Args:
        interval: of the ratio; None compares the two costs themselves.
    """
    if interval is None or not strong:
        return "less" if cost < strong else "more" if cost > strong else "same"
    low, high = interval
    return "less" if high < 1 else "more" if low > 1 else "same"


def times_of(cost: float, strong: float, interval: Sequence[float] | None) -> str:
    """` (1.46 times, 95 % interval 1.20 to 1.74)`; "" if the strong model costs nothing."""
    if not strong:
        return ""
    within = "" if interval is None else ", 95 % interval {:.2f} to {:.2f}".format(*interval)
    return f" ({cost / strong:.2f} times{within})"


def whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def amount(value: float) -> str:
    """A non-negative number with three significant digits, without exponent."""
    if not value:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"


def outcome_of(
    levels: tuple[Level | None, Level], is_as_good: bool = True
) -> tuple[str, bool | None]:
    """Outcome in words of the levels of money and seconds, and whether routing pays.

    Args:
        is_as_good: whether the accuracy is about that of the strong model.
    """
    outcome, pays = OUTCOMES[levels]
    if is_as_good or pays is False:
        return outcome, pays
    if "less" not in levels:
        return "routing loses here", False
    saved = [name for name, found in zip(("money", "time"), levels, strict=True) if found == "less"]
    outcome = f"routing saves {' and '.join(saved)}" if pays else outcome
    return f"{outcome}, with fewer right answers", None


def describe_single(trace: Trace, alone: Trace, prices: Prices | None) -> dict[str, Any]:
    """A solved problem compared with the strong model alone, with a verdict in words."""
    compared = CostComparison(
        prices.of(trace) if prices else None,
        trace.seconds,
        prices.of(alone) if prices else None,
        alone.seconds,
    )
    outcome, pays = outcome_of(compared.levels)
    if failure := trace.failure or alone.failure:
        outcome, pays = f"no comparison, as one of them failed ({failure})", None
    answer = f"answering {trace.answer} against {alone.answer}"
    if trace.answer == alone.answer:
        answer = "with the same answer"
    return {
        "answer": alone.answer,
        "strong_tokens": alone.strong_tokens,
        "money": compared.strong_money,
        "seconds": alone.seconds,
        "pays": pays,
        "verdict": f"On this problem {trace.policy} {compared.describe()}, {answer}: {outcome}.",
    }


def describe_costs(
    traces: Sequence[Trace],
    strong: Sequence[Trace] | None,
    prices: Prices | None,
    weights: Weights,
) -> dict[str, Any]:
    """The cost fields of a point (docs/summary.schema.json).

    Args:
        strong: traces of the strong model alone on the same problems; None if it was not run.
        prices: None if nothing is billed.
        weights: resamples of the problems.
    """
    hidden = [hidden_strong_usage(trace) for trace in traces]
    return {
        "seconds_mean": float(seconds(traces).mean()),
        "money_mean": float(money(traces, prices).mean()) if prices else None,
        "hidden_strong_tokens_mean": {
            "read": float(np.mean([used.prompt_tokens for used in hidden])),
            "written": float(np.mean([used.tokens for used in hidden])),
        },
        "against_strong": None
        if strong is None
        else {
            "money": ratio(money(traces, prices), money(strong, prices), weights)
            if prices
            else None,
            "seconds": ratio(seconds(traces), seconds(strong), weights),
        },
    }


def seconds(traces: Sequence[Trace]) -> Array:
    return np.array([trace.seconds for trace in traces], dtype=np.float64)


def money(traces: Sequence[Trace], prices: Prices) -> Array:
    return np.array([prices.of(trace) for trace in traces], dtype=np.float64)


def ratio(cost: Array, strong: Array, weights: Weights) -> dict[str, Any]:
    """The ratio of two sums over the same problems, with its paired bootstrap interval.

    The value is None if the strong model alone costs nothing, the interval also for one problem.

    Args:
        cost, strong: (n,) non-negative, per problem.
    """
    above, below = weights.means(np.stack([cost, strong])).T
    ratios = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    found = with_interval(ratios)
    return found if len(cost) > 1 else {**found, "interval": None}


Point = Mapping[str, Any]


NOT_ROUTED = ("weak", "strong", "oracle", "oracle-query", "oracle-token")
"""Policies that the verdict ignores: the models alone and the oracles."""


GOAL = 0.95
"""Part of the gap that a setting must close; of the strong model's accuracy if there is no gap."""


def describe_verdict(points: Sequence[Point]) -> dict[str, Any] | None:
    """The verdict of a run (`verdict` in docs/summary.schema.json); None if no policy routes.

    Among several settings it considers the cheapest that closes `GOAL` of the gap (the fastest if
    nothing is billed). If that one is neither cheaper nor faster than the strong model alone and
    another one is faster, it considers the fastest.
    """
    routed = [point for point in points if point["policy"] not in NOT_ROUTED]
    alone = {point["policy"]: point for point in points if point["setting"] is None}
    strong = alone.get("strong")
    if not routed:
        return None
    if strong is None:
        text = "Strong alone not measured: add --policy strong to learn whether routing pays."
        return {"policy": None, "setting": None, "pays": None, "text": text}
    goal = Goal(alone.get("weak"), strong)
    kept = [point for point in routed if goal.is_kept(point)]
    chosen = choose(kept, strong) if kept else max(routed, key=lambda p: (p["accuracy"], -cost(p)))
    compared = against(chosen, strong)
    outcome, pays = outcome_at(chosen, strong, bool(kept))
    subject = label(chosen)
    if len(routed) > 1:
        best = "cheapest" if cost(chosen) <= min(map(cost, kept), default=0) else "fastest"
        best = "fastest" if chosen["money_mean"] is None else best
        subject = goal.introduce(chosen, len(routed), best if kept else None)
    text = f"{subject} {compared.describe(' a problem')}{tokens(chosen)}, {goal.reached(chosen)}"
    if caveat := goal.caveat():
        pays = None if pays else pays
        text = f"{text}.{caveat}"
    else:
        text = f"{text}: {outcome}."
    if compared.money is None:
        text += " Money is not billed (--prices)."
    return {
        "policy": chosen["policy"],
        "setting": chosen["setting"],
        "pays": pays,
        "text": text,
    }


def headline(points: Sequence[Point], verdict: Mapping[str, Any] | None) -> str | None:
    """The verdict of a run in one short sentence; None without a verdict.

    Args:
        verdict: as of `describe_verdict`.
    """
    alone = {point["policy"]: point for point in points if point["setting"] is None}
    strong = alone.get("strong")
    if not verdict:
        return None
    if strong is None or verdict["policy"] is None:
        return str(verdict["text"])
    chosen = next(
        point
        for point in points
        if (point["policy"], point["setting"]) == (verdict["policy"], verdict["setting"])
    )
    goal = Goal(alone.get("weak"), strong)
    outcome, _ = outcome_at(chosen, strong, goal.is_kept(chosen))
    if goal.caveat():
        outcome = "routing cannot help here, as the strong model is no more accurate"
    paid = [
        f"{whole_percent(chosen[field] / strong[field])} of its {name}"
        for field, name in (("money_mean", "money"), ("seconds_mean", "time"))
        if chosen[field] is not None and strong[field]
    ]
    price = f" for {' and '.join(paid)}" if paid else ""
    return (
        f"{outcome[0].upper()}{outcome[1:]}: {label(chosen)} reaches"
        f" {whole_percent(goal.share(chosen))} of the strong model's accuracy{price}."
    )


def choose(kept: Sequence[Point], strong: Point) -> Point:
    """The cheapest setting, or the fastest if only that one is better than the strong model."""
    cheapest = min(kept, key=lambda point: (cost(point), point["seconds_mean"]))
    fastest = min(kept, key=lambda point: point["seconds_mean"])
    _, pays = outcome_of(against(cheapest, strong).levels)
    saves_time = against(fastest, strong).levels[1] == "less"
    return fastest if pays is False and saves_time else cheapest


def cost(point: Point) -> float:
    """Money per problem; seconds if nothing is billed."""
    return float(point["seconds_mean"] if point["money_mean"] is None else point["money_mean"])


def outcome_at(point: Point, strong: Point, is_as_good: bool) -> tuple[str, bool | None]:
    """As `outcome_of`, for a setting; one problem shows nothing."""
    seconds = point["against_strong"]["seconds"]
    if seconds["value"] is not None and seconds["interval"] is None:
        return "one problem shows nothing", None
    return outcome_of(against(point, strong).levels, is_as_good)


def against(point: Point, strong: Point) -> CostComparison:
    ratios = point["against_strong"]
    return CostComparison(
        point["money_mean"],
        point["seconds_mean"],
        strong["money_mean"],
        strong["seconds_mean"],
        ratios["money"] and ratios["money"]["interval"],
        ratios["seconds"]["interval"],
    )


@dataclass(frozen=True)
class Goal:
    """The accuracy that a setting must reach: `GOAL` of the gap between the models alone.

    Without a gap, or if the weak model was not run alone: `GOAL` of the strong model's accuracy.
    """

    weak: Point | None
    strong: Point

    def gain(self, point: Point) -> float | None:
        """Part of the gap that a setting closes; None without a gap."""
        if self.weak is None:
            return None
        return pgr(point["accuracy"], self.weak["accuracy"], self.strong["accuracy"])

    def share(self, point: Point) -> float:
        """Accuracy divided by the strong model's; 1 if that is 0."""
        return float(point["accuracy"] / self.strong["accuracy"]) if self.strong["accuracy"] else 1

    def is_kept(self, point: Point) -> bool:
        gain = self.gain(point)
        return (self.share(point) if gain is None else gain) >= GOAL - ROUNDING

    def reached(self, point: Point) -> str:
        gain = self.gain(point)
        closed = "" if gain is None else f" ({whole_percent(gain)} of the gap closed)"
        return f"at {whole_percent(self.share(point))} of its accuracy{closed}"

    def introduce(self, point: Point, settings: int, best: str | None) -> str:
        """The subject of the verdict's sentence: the setting and why it was chosen.

        Args:
            best: its superlative among the settings that reach the goal; None if none does.
        """
        gap = self.gain(point) is not None
        wanted = "closes {} of the gap" if gap else "keeps {} of the strong model's accuracy"
        wanted = wanted.format(whole_percent(GOAL))
        if best is None:
            return f"None of {settings} settings {wanted}; the nearest, {label(point)},"
        return f"Of {settings} settings the {best} that {wanted}, {label(point)},"

    def caveat(self) -> str:
        """A sentence if the strong model is not better than the weak one, else ""."""
        if self.weak is None or self.strong["accuracy"] > self.weak["accuracy"]:
            return ""
        weak, strong = (f"{100 * point['accuracy']:.1f} %" for point in (self.weak, self.strong))
        return (
            f" The strong model alone is no more accurate than the weak one ({strong} against"
            f" {weak}): routing cannot help."
        )


def label(point: Point) -> str:
    """A policy and its setting: `thr:0.5`, `weak`."""
    family, setting = point["policy"], point["setting"]
    return str(family) if setting is None else policy_name(family, setting)


def tokens(point: Point) -> str:
    """The strong share as a part of a sentence, if nothing is billed."""
    if point["money_mean"] is not None or point["strong_share"] is None:
        return ""
    hidden = point["hidden_strong_tokens_mean"]
    besides = sum(hidden.values())
    more = f" and reading or writing {besides:,.0f} hidden ones" if besides else ""
    return f", decoding {point['strong_share']:.2f} times its tokens{more}"


def hidden_notes(points: Sequence[Point]) -> list[str]:
    """A line for each family whose strong model spent hidden tokens, those besides steps."""
    families: dict[str, list[Mapping[str, float]]] = {}
    for point in points:
        hidden = point["hidden_strong_tokens_mean"]
        if any(hidden.values()):
            families.setdefault(point["policy"], []).append(hidden)
    return [
        f"{family}: besides steps, the strong model read {span(each['read'] for each in found)} and"
        f" wrote {span(each['written'] for each in found)} tokens a problem, for grades or prefill;"
        " money and seconds include them, the strong share does not"
        for family, found in families.items()
    ]


def span(values: Iterable[float]) -> str:
    """`1,650`, or `1,200 to 1,900`."""
    listed = list(values)
    low, high = f"{min(listed):,.0f}", f"{max(listed):,.0f}"
    return low if low == high else f"{low} to {high}"
