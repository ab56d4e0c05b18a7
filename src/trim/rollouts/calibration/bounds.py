"""Upper confidence bounds on means, from samples of n independent values.

`betting_upper`, `clopper_pearson_upper` and `thatcher_upper` are valid for every n and every
distribution within their range; `student_upper` is asymptotic.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import beta, hypergeom

Values = NDArray[Any]

LARGEST_BET = 0.9
"""Largest share of the capital that a bet can lose: c of Waudby-Smith and Ramdas."""
FIRST_VARIANCE = 0.0025
"""Prior estimate of the variance of values scaled to [0, 1]. The bound is valid for any; this
one suits a standard deviation of a twentieth of the range."""
PRECISION = 1e-6
"""Of the bisection for a bound, as a share of the range."""


def betting_upper(values: Values, lowest: float, highest: float, confidence: float) -> float:
    """A bound that the mean exceeds with probability at most 1 - confidence, for any n.

    The capital process K^- of Waudby-Smith and Ramdas, "Estimating means of bounded random
    variables by betting" (arXiv 2010.09686), theorem 3, one-sided, with the predictable bets of
    its equation 26. Bets are that values are below m. If the mean is m or more, the capital
    reaches 1 / alpha with probability at most alpha (Ville's inequality); each m at which it
    does is rejected.

    Args:
        values: (n,) independent and identically distributed, in an order that does not depend
            on them.
        lowest, highest: their range.
        confidence: 1 - alpha, in (0, 1).
    """
    scaled = (np.asarray(values, dtype=np.float64) - lowest) / (highest - lowest)
    target = -math.log(1 - confidence)
    bets = _bets(scaled, target)

    def rejected(mean: float) -> bool:
        stakes = np.minimum(bets, LARGEST_BET / (1 - mean))
        return bool(np.cumsum(np.log1p(-stakes * (scaled - mean))).max() >= target)

    # The capital rises with m: the rejected values are an interval up to 1.
    below, above = 0.0, 1.0
    while above - below > PRECISION:
        middle = (below + above) / 2
        if rejected(middle):
            above = middle
        else:
            below = middle
    return lowest + above * (highest - lowest)


def _bets(scaled: Values, target: float) -> Values:
    """lambda_t = sqrt(2 log(1/alpha) / (n s_{t-1}^2)), from the values before t."""
    count = np.arange(2, len(scaled) + 2)
    means = (0.5 + np.cumsum(scaled)) / count
    variances = (FIRST_VARIANCE + np.cumsum((scaled - means) ** 2)) / count
    before = np.concatenate([[FIRST_VARIANCE], variances[:-1]])
    return np.asarray(np.sqrt(2 * target / (len(scaled) * before)))


def student_upper(values: Values, confidence: float, horizon: int | None = None) -> float:
    """Student's bound on the mean, or on the mean of the next `horizon` values.

    mean + t s sqrt(1/n + 1/horizon), the prediction bound of normal theory (Hahn and Meeker,
    "Statistical Intervals", section 4.7 of the first edition). Exact for normal values,
    asymptotic in n and the horizon for others.

    Args:
        values: (n,), n at least 2.
        confidence: in (0, 1).
        horizon: None for the expectation.
    """
    count = len(values)
    quantile = float(stdtrit(count - 1, confidence))
    spread = 1 / count + (1 / horizon if horizon else 0)
    return float(np.mean(values) + quantile * np.std(values, ddof=1) * math.sqrt(spread))


def clopper_pearson_upper(events: int, count: int, confidence: float) -> float:
    """Exact bound on a probability, from `events` in `count` trials.

    Clopper and Pearson, Biometrika 26 (1934): the quantile of a beta distribution.
    """
    return 1.0 if events == count else float(beta.ppf(confidence, events + 1, count - events))


def thatcher_upper(events: int, count: int, horizon: int, confidence: float) -> float:
    """Exact bound on the share of events in the next `horizon` trials.

    Thatcher, J. R. Stat. Soc. B 26 (1964): given the total of past and future events, the past
    ones are hypergeometric. A number of future events is rejected if at most `events` past ones
    have a probability of at most 1 - confidence.
    """

    def is_rejected(future: int) -> bool:
        tail = hypergeom.cdf(events, count + horizon, events + future, count)
        return bool(tail <= 1 - confidence)

    # The more future events, the less probable are so few past ones.
    possible = bisect_left(range(1, horizon + 1), True, key=is_rejected)
    return possible / horizon
