"""Quality that drops after interventions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import t as student

from trim.monitor.average import Average
from trim.monitor.profile import Profile, Walk, scores_after
from trim.monitor.warning import Kind, Warning

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

ADVICE = (
    "the weak model may be unable to continue the strong model's text: check that both are"
    " the models of the calibration, or use another pair"
)


def drop_after_rewrites(walks: Sequence[Walk], profile: Profile | None) -> Warning | None:
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
        text = f"{seen}, and {kept.mean:.2f} after a kept one; {ADVICE}"
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
    text = f"{seen}, and {before.mean:.2f} in the calibration; {ADVICE}"
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
