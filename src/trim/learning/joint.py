"""Fitting the weights of joint scores to a bank's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit

from trim.errors import InvalidInput
from trim.odds import FINEST, log_odds_of_all
from trim.scorers.joint import JointWeights

FEWEST = 20
"""Examples of either outcome below which weights would be a guess."""
PENALTY = 1e-3
"""Of squared weights, in units of one example's likelihood: keeps them finite where the two
signals tell all right steps from all wrong ones."""

Signals = Sequence[tuple[float, float]]
"""Of steps: the reward model's score in [0, 1] and the mean log-probability in nats."""


def fit_joint(groups: Sequence[tuple[Signals, bool]], models: Mapping[str, str]) -> JointWeights:
    """Maximum likelihood of what is known: which groups of steps are right as a whole.

    A group of one step is a labelled step, which makes this a logistic regression. Without
    labels a group is a whole solution and what is known is its answer, which is right
    where all steps are: P(right) is the product over the steps.

    Args:
        models: sha256 by role, kept with the weights.

    Raises:
        InvalidInput: fewer than 20 groups that are right, or wrong.
    """
    right = np.array([outcome for _, outcome in groups], dtype=bool)
    for name, found in (("right", int(right.sum())), ("wrong", int((~right).sum()))):
        if found < FEWEST:
            raise InvalidInput(
                f"{found} {name} examples, at least {FEWEST} are needed to weigh scores and"
                " confidence; collect more traces"
            )
    steps = np.array([signal for signals, _ in groups for signal in signals], dtype=np.float64)
    group = np.repeat(np.arange(len(groups)), [len(signals) for signals, _ in groups])
    odds = log_odds_of_all(steps[:, 0], FINEST)
    features = np.stack([np.ones(len(steps)), odds, np.minimum(steps[:, 1], 0)], axis=1)
    scale = np.maximum(np.abs(features).mean(axis=0), 1e-9)

    def loss(weights: NDArray[Any]) -> float:
        sound = np.bincount(group, log_expit(features / scale @ weights), minlength=len(groups))
        of_wrong = np.log(np.maximum(-np.expm1(sound), 1e-300))
        likelihood = np.where(right, sound, of_wrong).sum()
        return float(PENALTY * weights @ weights - likelihood)

    found = minimize(loss, np.array([1.0, 1.0, 1.0]), method="L-BFGS-B")
    intercept, prm, log_probability = (found.x / scale).tolist()
    return JointWeights(intercept, prm, log_probability, models)
