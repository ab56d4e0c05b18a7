"""Quality that drops after interventions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from scipy.stats import binomtest, fisher_exact
from scipy.stats import t as student

from trim.monitoring.profile import Average, Profile, RouteRecord, scores_after


class Kind(StrEnum):
    """Which of the method's failures it is."""

    SCORE_DRIFT = "score-drift"
    """The scorer meets something else than in the calibration."""
    AFTER_INTERVENTION = "after-intervention"
    """The weak model does not go on well from what the strong model has written."""
    BUDGET_TOO_SMALL = "budget-too-small"
    """Too little may be rewritten to help."""


@dataclass(frozen=True)
class Warning:
    """A failure that a test has found.

    Attributes:
        text: one sentence: the figures, and what to do.
        statistic: what was tested: a difference of shares or means, or a share.
        p_value: how likely so large a statistic is where nothing is wrong, in [0, 1]; None
            where nothing was tested.
    """

    kind: Kind
    text: str
    statistic: float
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


MOST_DENIED = 0.5
"""Share of the problems with a wish in which a budget may deny one."""
MOST_WRONG = 1 / 3
"""Share of solutions that may hold a wrong step that nobody touched."""
LEAST_HELPED = 0.1
"""Share of problems with a rewrite from which on the budget is not called small."""


def denied_wishes(walks: Sequence[RouteRecord]) -> Warning | None:
    """Whether the budget denies a rewrite in most of the problems in which one is wanted.

    Exact binomial test of the share against `MOST_DENIED`.
    """
    wanted = [walk for walk in walks if walk.wanted]
    denied = sum(any(walk.denied) for walk in wanted)
    if denied <= MOST_DENIED * len(wanted):
        return None
    share = denied / len(wanted)
    text = (
        f"the budget is too small: it denied a rewrite in {share:.0%} of the {len(wanted)}"
        " problems in which one was wanted; raise it, or calibrate for a smaller share"
    )
    test = binomtest(denied, len(wanted), MOST_DENIED, alternative="greater")
    return Warning(Kind.BUDGET_TOO_SMALL, text, share, float(test.pvalue))


def few_rewrites(walks: Sequence[RouteRecord]) -> Warning | None:
    """Whether few problems are helped while many solutions hold a wrong step untouched.

    Without labels the scores have to say what is wrong. A score is the probability that a
    step is right, as far as the scorer is right; all steps of a solution are right at most
    as often as its worst one. So over problems in which nothing was rewritten the mean of
    1 - min r_1..r_T is a lower bound on the share of solutions with a wrong step.

    Both must hold: that share is above `MOST_WRONG` (Hoeffding's bound for values in
    [0, 1]), and problems with a rewrite are fewer than `LEAST_HELPED` (exact binomial). The
    p-value is the larger one.
    """
    if not walks:
        return None
    count = len(walks)
    helped = sum(any(walk.rewritten) for walk in walks)
    wrong = sum(1 - min(walk.scores) for walk in walks if not any(walk.rewritten)) / count
    if wrong <= MOST_WRONG or helped >= LEAST_HELPED * count:
        return None
    text = (
        f"the budget is too small: something was rewritten in {helped / count:.0%} of the"
        f" problems, and by their scores at least {wrong:.0%} of the solutions hold a wrong"
        " step that was kept; raise the budget, or lower the price of a strong token"
    )
    p_wrong = math.exp(-2 * count * (wrong - MOST_WRONG) ** 2)
    p_helped = float(binomtest(helped, count, LEAST_HELPED, alternative="less").pvalue)
    return Warning(Kind.BUDGET_TOO_SMALL, text, wrong, max(p_wrong, p_helped))


LEAST_PROBLEMS_OF_DRIFT = 20
"""With fewer nothing is said."""
LEAST_DIFFERENCE = 0.1
"""Of two shares of problems; what is smaller is no reason to calibrate anew."""

DRIFT_ADVICE = (
    "measure the scorer on fresh problems (`trim collect`, then `trim audit --against` the"
    " calibration's bank) and calibrate anew"
)


def drift_of_scores(walks: Sequence[RouteRecord], profile: Profile) -> Warning | None:
    """Whether first drafts score otherwise than in the calibration.

    Two-sample Kolmogorov-Smirnov. First drafts are one a problem and come before any
    decision, so the test holds whatever the policy does.
    """
    if len(walks) < LEAST_PROBLEMS_OF_DRIFT:
        return None
    distance = profile.first.against([walk.scores[0] for walk in walks])
    if distance.statistic < LEAST_DIFFERENCE:
        return None
    text = (
        f"scores have drifted: {distance.here:.0%} of the first drafts score at most"
        f" {distance.place:.2f}, and {distance.there:.0%} did in the calibration; {DRIFT_ADVICE}"
    )
    return Warning(Kind.SCORE_DRIFT, text, distance.statistic, distance.p_value)


def drift_of_wishes(walks: Sequence[RouteRecord], profile: Profile) -> Warning | None:
    """Whether the policy wants to rewrite in another share of the problems.

    Fisher's exact test, two-sided. It sees drift in later steps, as far as decisions change.
    What a budget denies counts as wanted, so that a budget does not look like drift.
    """
    if len(walks) < LEAST_PROBLEMS_OF_DRIFT:
        return None
    wanted = sum(walk.wanted for walk in walks)
    here, there = wanted / len(walks), profile.wanted / profile.problems
    if abs(here - there) < LEAST_DIFFERENCE:
        return None
    table = [
        [wanted, len(walks) - wanted],
        [profile.wanted, profile.problems - profile.wanted],
    ]
    text = (
        f"scores have drifted: the policy wants to rewrite something in {here:.0%} of the"
        f" problems, and wanted it in {there:.0%} of the calibration's; {DRIFT_ADVICE}"
    )
    return Warning(Kind.SCORE_DRIFT, text, abs(here - there), float(fisher_exact(table).pvalue))


LEAST_PROBLEMS = 20
"""Each mean is of at least so many problems."""
LEAST_DROP = 0.1
"""Of a mean score against the calibration's."""
MARGIN = 0.25
"""By which the drafts after rewritten steps may score lower than those after kept ones.

Steps are rewritten in harder places, so some of that is no failure. For thresholds from 0.001
to 0.95 on the shipped models and suites the difference is at most 0.2."""

DRIFTED = 0.05
"""p-value of the first drafts' scores below which drift explains a drop as well."""

INTERVENTION_ADVICE = (
    "the weak model may be unable to continue the strong model's text: check that both are"
    " the models of the calibration, or use another pair"
)


def drop_after_rewrites(walks: Sequence[RouteRecord], profile: Profile | None) -> Warning | None:
    """Whether drafts that follow a rewritten step score worse than they should.

    With a profile: lower than in the calibration, and by more than drafts that follow a kept
    step are, since scores that are all lower are no matter of interventions. Without one:
    lower than the drafts that follow a kept step in the same run, by more than `MARGIN`.

    One-sided tests of means over problems by Welch's t. The drafts of one problem tend to
    score alike; taking them for independent makes the errors of differences too large, not
    too small.
    """
    rewritten = Average.of(list(scores_after(walks, rewritten=True)))
    kept = Average.of(list(scores_after(walks, rewritten=False)))
    if rewritten.count < LEAST_PROBLEMS:
        return None
    seen = f"drafts that follow a rewritten step score {rewritten.mean:.2f} on average"
    if profile is None:
        if kept.count < LEAST_PROBLEMS:
            return None
        drop = kept.mean - rewritten.mean
        text = f"{seen}, and {kept.mean:.2f} after a kept one; {INTERVENTION_ADVICE}"
        excess, p_value = drop - MARGIN, p_of_drop(drop - MARGIN, rewritten, kept)
        return Warning(Kind.AFTER_INTERVENTION, text, drop, p_value) if excess > 0 else None
    before, kept_before = profile.after_rewritten, profile.after_kept
    if before.count < LEAST_PROBLEMS:
        return None
    drop = before.mean - rewritten.mean
    p_value = p_of_drop(drop, rewritten, before)
    if min(kept.count, kept_before.count) >= LEAST_PROBLEMS:
        beyond = drop - (kept_before.mean - kept.mean)
        p_value = max(p_value, p_of_drop(beyond, rewritten, before, kept, kept_before))
        drop = min(drop, beyond)
    elif profile.first.against([walk.scores[0] for walk in walks]).p_value < DRIFTED:
        return None
    if drop < LEAST_DROP:
        return None
    text = f"{seen}, and {before.mean:.2f} in the calibration; {INTERVENTION_ADVICE}"
    return Warning(Kind.AFTER_INTERVENTION, text, drop, p_value)


def p_of_drop(drop: float, *averages: Average) -> float:
    """P(a sum of these averages, with either sign, is `drop` or more) where 0 is expected.

    Student's t with the degrees of freedom of Welch and Satterthwaite.
    """
    total = sum(average.error for average in averages)
    if not total:
        return 0.0 if drop > 0 else 1.0
    freedom = total**2 / sum(a.error**2 / (a.count - 1) for a in averages)
    return float(student.sf(drop / math.sqrt(total), freedom))
