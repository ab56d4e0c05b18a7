"""Whether routing pays in an evaluation: the verdict at its end, and notes on hidden tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trim.evaluation.cost_report import AgainstStrong, conclude, whole_percent
from trim.metrics.metrics import ROUNDING, pgr
from trim.policies.policy import policy_name

Point = Mapping[str, Any]

NOT_ROUTED = ("weak", "strong", "oracle", "oracle-query")
"""Policies that are not on offer: the models alone, and what knows the answers."""
GOAL = 0.95
"""Part of the gap (of the strong model's accuracy, where there is no gap) that is to be kept."""


def describe_verdict(points: Sequence[Point]) -> dict[str, Any] | None:
    """The verdict of a run (`verdict` of docs/summary.schema.json); None where nothing is routed.

    Of several settings it is about the one that closes `GOAL` of the gap at the least money (in
    the least time, where nothing is billed). Where that one is neither cheaper nor faster than the
    strong model alone, and another one is faster, it is about the fastest.
    """
    routed = [point for point in points if point["policy"] not in NOT_ROUTED]
    alone = {point["policy"]: point for point in points if point["setting"] is None}
    strong = alone.get("strong")
    if not routed:
        return None
    if strong is None:
        text = "Strong alone not measured: with --policy strong the run says whether routing pays."
        return {"policy": None, "setting": None, "pays": None, "text": text}
    goal = Goal(alone.get("weak"), strong)
    kept = [point for point in routed if goal.is_kept(point)]
    chosen = choose(kept, strong) if kept else max(routed, key=lambda p: (p["accuracy"], -cost(p)))
    compared = against(chosen, strong)
    outcome, pays = conclude(compared.levels, bool(kept))
    subject = label(chosen)
    if len(routed) > 1:
        best = "cheapest" if cost(chosen) <= min(map(cost, kept), default=0) else "fastest"
        best = "fastest" if chosen["money_mean"] is None else best
        subject = goal.introduce(chosen, len(routed), best if kept else None)
    text = f"{subject} {compared.told(' a problem')}{tokens(chosen)}, {goal.reached(chosen)}"
    text = f"{text}: {outcome}.{goal.caveat()}"
    if compared.money is None:
        text += " Money is not billed (--prices)."
    return {
        "policy": chosen["policy"],
        "setting": chosen["setting"],
        "pays": None if goal.caveat() and pays else pays,
        "text": text,
    }


def choose(kept: Sequence[Point], strong: Point) -> Point:
    """The cheapest setting; the fastest where only that one is better than the strong model."""
    cheapest = min(kept, key=lambda point: (cost(point), point["seconds_mean"]))
    fastest = min(kept, key=lambda point: point["seconds_mean"])
    _, pays = conclude(against(cheapest, strong).levels)
    saves_time = against(fastest, strong).levels[1] == "less"
    return fastest if pays is False and saves_time else cheapest


def cost(point: Point) -> float:
    """Money a problem; seconds where nothing is billed."""
    return float(point["seconds_mean"] if point["money_mean"] is None else point["money_mean"])


def against(point: Point, strong: Point) -> AgainstStrong:
    ratios = point["against_strong"]
    return AgainstStrong(
        point["money_mean"],
        point["seconds_mean"],
        strong["money_mean"],
        strong["seconds_mean"],
        ratios["money"] and ratios["money"]["interval"],
        ratios["seconds"]["interval"],
    )


@dataclass(frozen=True)
class Goal:
    """How right a setting has to be: `GOAL` of the gap between both models alone.

    Where there is no gap, or the weak model alone was not run: of the strong model's accuracy.
    """

    weak: Point | None
    strong: Point

    def gain(self, point: Point) -> float | None:
        """The part of the gap that a setting closes; None without a gap."""
        if self.weak is None:
            return None
        return pgr(point["accuracy"], self.weak["accuracy"], self.strong["accuracy"])

    def share(self, point: Point) -> float:
        """The accuracy as a part of the strong model's, 1 where that has none."""
        return float(point["accuracy"] / self.strong["accuracy"]) if self.strong["accuracy"] else 1

    def is_kept(self, point: Point) -> bool:
        gain = self.gain(point)
        return (self.share(point) if gain is None else gain) >= GOAL - ROUNDING

    def reached(self, point: Point) -> str:
        gain = self.gain(point)
        closed = "" if gain is None else f" ({whole_percent(gain)} of the gap closed)"
        return f"at {whole_percent(self.share(point))} of its accuracy{closed}"

    def introduce(self, point: Point, settings: int, best: str | None) -> str:
        """The subject of the verdict, with why it is this one of several settings.

        Args:
            best: in what it is the best of those that meet the goal; None where none does.
        """
        gap = self.gain(point) is not None
        wanted = "closes {} of the gap" if gap else "keeps {} of the strong model's accuracy"
        wanted = wanted.format(whole_percent(GOAL))
        if best is None:
            return f"None of {settings} settings {wanted}; the nearest, {label(point)},"
        return f"Of {settings} settings the {best} that {wanted}, {label(point)},"

    def caveat(self) -> str:
        """What there is to say where the strong model is not the better one."""
        if self.weak is None or self.strong["accuracy"] > self.weak["accuracy"]:
            return ""
        weak, strong = (f"{100 * point['accuracy']:.1f} %" for point in (self.weak, self.strong))
        return (
            f" The strong model alone is right no more often than the weak one ({strong} against"
            f" {weak}): there is nothing to route for."
        )


def label(point: Point) -> str:
    """A policy and its setting: `thr:0.5`, `weak`."""
    family, setting = point["policy"], point["setting"]
    return str(family) if setting is None else policy_name(family, setting)


def tokens(point: Point) -> str:
    """Strong tokens, which are all that is told of cost besides seconds where nothing is billed."""
    if point["money_mean"] is not None or point["strong_share"] is None:
        return ""
    hidden = point["hidden_strong_tokens_mean"]
    besides = sum(hidden.values())
    more = f" and reading or writing {besides:,.0f} hidden ones" if besides else ""
    return f", decoding {point['strong_share']:.2f} times its tokens{more}"


def hidden_notes(points: Sequence[Point]) -> list[str]:
    """A line for each family for which the strong model worked on more than steps."""
    families: dict[str, list[Mapping[str, float]]] = {}
    for point in points:
        hidden = point["hidden_strong_tokens_mean"]
        if any(hidden.values()):
            families.setdefault(point["policy"], []).append(hidden)
    return [
        f"{family}: besides steps the strong model read {span(each['read'] for each in found)} and"
        f" wrote {span(each['written'] for each in found)} tokens a problem, to grade or to read"
        " ahead; they are in money and seconds, not in c"
        for family, found in families.items()
    ]


def span(values: Iterable[float]) -> str:
    """`1,650`, or `1,200 to 1,900`."""
    listed = list(values)
    low, high = f"{min(listed):,.0f}", f"{max(listed):,.0f}"
    return low if low == high else f"{low} to {high}"
