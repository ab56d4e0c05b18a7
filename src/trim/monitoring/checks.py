"""Statistical tests for the failures of a router at run time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from scipy.stats import binomtest, fisher_exact
from scipy.stats import t as student

from trim.monitoring.profile import Average, Profile, RouteRecord, scores_after


class WarningKind(StrEnum):
    """The failures of the method (arXiv 2601.10245)."""

    SCORE_DRIFT = "score-drift"
    """Scores are distributed differently than in the calibration."""
    AFTER_INTERVENTION = "after-intervention"
    """The weak model continues the strong model's steps badly."""
    BUDGET_TOO_SMALL = "budget-too-small"
    """Too few rewrites to raise accuracy."""


@dataclass(frozen=True)
class RouterWarning:
    """A failure found by a test.

    Attributes:
        text: one sentence with the figures and the remedy.
        statistic: the tested share, or difference of shares or means.
        p_value: in [0, 1]; None without a test.
    """

    kind: WarningKind
    text: str
    statistic: float
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


MAX_DENIED_SHARE = 0.5
"""Of problems with a desired rewrite, the share in which a budget may deny one."""
MAX_WRONG_SHARE = 1 / 3
"""Share of solutions that may have a wrong step that was kept."""
MIN_REWRITTEN_SHARE = 0.1
"""With at least this share of problems with a rewrite, the budget is not too small."""


def denied_rewrites(records: Sequence[RouteRecord]) -> RouterWarning | None:
    """Warns if the budget denies a rewrite in most problems in which the policy decides on one.

    Exact binomial test of the share against `MAX_DENIED_SHARE`.
    """
    desired = [record for record in records if record.desired_rewrite]
    denied = sum(any(record.denied) for record in desired)
    if denied <= MAX_DENIED_SHARE * len(desired):
        return None
    share = denied / len(desired)
    text = (
        f"the budget is too small: it denied a rewrite in {share:.0%} of the {len(desired)}"
        " problems in which one was wanted; raise it, or calibrate for a smaller share"
    )
    test = binomtest(denied, len(desired), MAX_DENIED_SHARE, alternative="greater")
    return RouterWarning(WarningKind.BUDGET_TOO_SMALL, text, share, float(test.pvalue))


def few_rewrites(records: Sequence[RouteRecord]) -> RouterWarning | None:
    """Warns if few problems have a rewrite while many solutions keep a wrong step.

    A calibrated score is P(step right), and P(all steps right) is at most the lowest of them.
    Over problems without a rewrite, the mean of 1 - min r_1..r_T is therefore a lower bound on
    the share of solutions with a wrong step.

    Two tests, of which the larger p-value counts: that share is above `MAX_WRONG_SHARE`
    (Hoeffding's bound for values in [0, 1]), and the share of problems with a rewrite is below
    `MIN_REWRITTEN_SHARE` (exact binomial).
    """
    if not records:
        return None
    count = len(records)
    with_rewrite = sum(any(record.rewritten) for record in records)
    wrong = sum(1 - min(record.scores) for record in records if not any(record.rewritten)) / count
    if wrong <= MAX_WRONG_SHARE or with_rewrite >= MIN_REWRITTEN_SHARE * count:
        return None
    text = (
        f"the budget is too small: something was rewritten in {with_rewrite / count:.0%} of the"
        f" problems, and by their scores at least {wrong:.0%} of the solutions have a wrong"
        " step that was kept; raise the budget, or lower the price of a strong token"
    )
    p_wrong = math.exp(-2 * count * (wrong - MAX_WRONG_SHARE) ** 2)
    p_rewritten_problems = float(
        binomtest(with_rewrite, count, MIN_REWRITTEN_SHARE, alternative="less").pvalue
    )
    return RouterWarning(
        WarningKind.BUDGET_TOO_SMALL, text, wrong, max(p_wrong, p_rewritten_problems)
    )


MIN_DRIFT_PROBLEMS = 20
"""Problems needed for a drift test."""
MIN_DIFFERENCE = 0.1
"""Of two shares of problems; smaller differences need no new calibration."""

DRIFT_ADVICE = (
    "measure the scorer on fresh problems (`trim collect`, then `trim audit --against` the"
    " calibration's bank) and calibrate again"
)


def score_drift(records: Sequence[RouteRecord], profile: Profile) -> RouterWarning | None:
    """Warns if the scores of first drafts differ from those in the calibration.

    Two-sample Kolmogorov-Smirnov test. First drafts are one per problem and precede every
    decision: the test is valid for any policy.
    """
    if len(records) < MIN_DRIFT_PROBLEMS:
        return None
    distance = profile.first.compare([record.scores[0] for record in records])
    if distance.statistic < MIN_DIFFERENCE:
        return None
    text = (
        f"scores have drifted: {distance.current:.0%} of the first drafts score at most"
        f" {distance.value:.2f}, and {distance.reference:.0%} did in the calibration;"
        f" {DRIFT_ADVICE}"
    )
    return RouterWarning(WarningKind.SCORE_DRIFT, text, distance.statistic, distance.p_value)


def rewrite_rate_drift(records: Sequence[RouteRecord], profile: Profile) -> RouterWarning | None:
    """Warns if the policy decides on a rewrite in another share of problems than before.

    Fisher's exact test, two-sided. It detects drift in later steps that changes decisions.
    Denied rewrites count, so a budget does not look like drift.
    """
    if len(records) < MIN_DRIFT_PROBLEMS:
        return None
    desired = sum(record.desired_rewrite for record in records)
    current, reference = desired / len(records), profile.desired_rewrites / profile.problems
    if abs(current - reference) < MIN_DIFFERENCE:
        return None
    table = [
        [desired, len(records) - desired],
        [profile.desired_rewrites, profile.problems - profile.desired_rewrites],
    ]
    text = (
        f"scores have drifted: the policy wants to rewrite something in {current:.0%} of the"
        f" problems, and wanted it in {reference:.0%} of the calibration's; {DRIFT_ADVICE}"
    )
    return RouterWarning(
        WarningKind.SCORE_DRIFT, text, abs(current - reference), float(fisher_exact(table).pvalue)
    )


MIN_PROBLEMS = 20
"""Problems needed for each mean."""
MIN_DROP = 0.1
"""Of a mean score below the calibration's."""
MARGIN = 0.25
"""Allowed drop from drafts after kept steps to drafts after rewritten ones, within one run.

Steps are rewritten in harder places, which lowers later scores without a failure. For thresholds
from 0.001 to 0.95 on the shipped models and suites the difference is at most 0.2."""

DRIFTED = 0.05
"""If the p-value of the first drafts is below this, drift may explain a drop."""

INTERVENTION_ADVICE = (
    "the weak model may be unable to continue the strong model's text: check that both are"
    " the models of the calibration, or use another pair"
)


def score_drop_after_rewrites(
    records: Sequence[RouteRecord], profile: Profile | None
) -> RouterWarning | None:
    """Warns if drafts after a rewritten step have lower scores than expected.

    With a profile: lower than in the calibration, by more than drafts after a kept step are;
    a drop of all scores is drift. Without one: lower than drafts after a kept step in the same
    run, by more than `MARGIN`.

    One-sided Welch's t tests of means over problems. Drafts of one problem have correlated
    scores; treating them as independent overestimates the error of a difference.
    """
    rewritten = Average.of(list(scores_after(records, rewritten=True)))
    kept = Average.of(list(scores_after(records, rewritten=False)))
    if rewritten.count < MIN_PROBLEMS:
        return None
    seen = f"drafts that follow a rewritten step score {rewritten.mean:.2f} on average"
    if profile is None:
        if kept.count < MIN_PROBLEMS:
            return None
        drop = kept.mean - rewritten.mean
        text = f"{seen}, and {kept.mean:.2f} after a kept one; {INTERVENTION_ADVICE}"
        excess, p_value = drop - MARGIN, drop_p_value(drop - MARGIN, rewritten, kept)
        return (
            RouterWarning(WarningKind.AFTER_INTERVENTION, text, drop, p_value)
            if excess > 0
            else None
        )
    before, kept_before = profile.after_rewritten, profile.after_kept
    if before.count < MIN_PROBLEMS:
        return None
    drop = before.mean - rewritten.mean
    p_value = drop_p_value(drop, rewritten, before)
    if min(kept.count, kept_before.count) >= MIN_PROBLEMS:
        beyond = drop - (kept_before.mean - kept.mean)
        p_value = max(p_value, drop_p_value(beyond, rewritten, before, kept, kept_before))
        drop = min(drop, beyond)
    elif profile.first.compare([record.scores[0] for record in records]).p_value < DRIFTED:
        return None
    if drop < MIN_DROP:
        return None
    text = f"{seen}, and {before.mean:.2f} in the calibration; {INTERVENTION_ADVICE}"
    return RouterWarning(WarningKind.AFTER_INTERVENTION, text, drop, p_value)


def drop_p_value(drop: float, *averages: Average) -> float:
    """One-sided p-value of a `drop`, a signed sum of these averages, against 0.

    Student's t with the degrees of freedom of Welch and Satterthwaite.
    """
    total = sum(average.error for average in averages)
    if not total:
        return 0.0 if drop > 0 else 1.0
    freedom = total**2 / sum(a.error**2 / (a.count - 1) for a in averages)
    return float(student.sf(drop / math.sqrt(total), freedom))
