"""Scores that have drifted from the calibration."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import fisher_exact

from trim.monitor.profile import Profile, Walk
from trim.monitor.warning import Kind, Warning

LEAST_PROBLEMS = 20
"""With fewer nothing is said."""
LEAST_DIFFERENCE = 0.1
"""Of two shares of problems; what is smaller is no reason to calibrate anew."""

ADVICE = (
    "measure the scorer on fresh problems (`trim collect`, then `trim audit --against` the"
    " calibration's bank) and calibrate anew"
)


def drift_of_scores(walks: Sequence[Walk], profile: Profile) -> Warning | None:
    """Whether first drafts score otherwise than in the calibration.

    Two-sample Kolmogorov-Smirnov. First drafts are one a problem and come before any
    decision, so the test holds whatever the policy does.
    """
    if len(walks) < LEAST_PROBLEMS:
        return None
    distance = profile.first.against([walk.scores[0] for walk in walks])
    if distance.statistic < LEAST_DIFFERENCE:
        return None
    text = (
        f"scores have drifted: {distance.here:.0%} of the first drafts score at most"
        f" {distance.place:.2f}, and {distance.there:.0%} did in the calibration; {ADVICE}"
    )
    return Warning(Kind.SCORE_DRIFT, text, distance.statistic, distance.p_value)


def drift_of_wishes(walks: Sequence[Walk], profile: Profile) -> Warning | None:
    """Whether the policy wants to rewrite in another share of the problems.

    Fisher's exact test, two-sided. It sees drift in later steps, as far as decisions change.
    What a budget denies counts as wanted, so that a budget does not look like drift.
    """
    if len(walks) < LEAST_PROBLEMS:
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
        f" problems, and wanted it in {there:.0%} of the calibration's; {ADVICE}"
    )
    return Warning(Kind.SCORE_DRIFT, text, abs(here - there), float(fisher_exact(table).pvalue))
