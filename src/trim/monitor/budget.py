"""A budget that is too small to help."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import binomtest

from trim.monitor.profile import Walk
from trim.monitor.warning import Kind, Warning

MOST_DENIED = 0.5
"""Share of the problems with a wish in which a budget may deny one."""
MOST_WRONG = 1 / 3
"""Share of solutions that may hold a wrong step that nobody touched."""
LEAST_HELPED = 0.1
"""Share of problems with a rewrite from which on the budget is not called small."""


def denied_wishes(walks: Sequence[Walk]) -> Warning | None:
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


def few_rewrites(walks: Sequence[Walk]) -> Warning | None:
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
