"""Joint scores: a reward model's score and the author's confidence, weighed together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.files import numbers, read_object, write_atomically, writing
from trim.fingerprints import Seen, seen_field
from trim.models.model import Completion, Prefix
from trim.numerics import FINEST, logit, logit_array, sigmoid
from trim.scorers.confidence import require_confidence
from trim.scorers.scorer import Scorer, Scores, checked_scores

NAME = "joint.json"
"""Name of the file of weights in a folder of models."""
VERSION = 1


@dataclass(frozen=True)
class JointWeights:
    """A logistic regression on two signals (stacking: Wolpert 1992, Neural Networks 5).

    Attributes:
        intercept: log-odds of a right step whose score is 0.5 and whose tokens are certain.
        prm: weight of the log-odds of the reward model's score.
        log_probability: weight of the mean log-probability of the step's tokens, in nats.
        models: sha256 by role of the files that the weights were fitted to.
    """

    intercept: float
    prm: float
    log_probability: float
    models: Mapping[str, str]

    def of(self, score: float, log_probability: float) -> float:
        """The joint score in [0, 1]: the probability that the step is right.

        Args:
            score: the reward model's, in [0, 1].
            log_probability: mean over the step's tokens, in nats; above 0 counts as 0.
        """
        return sigmoid(
            self.intercept
            + self.prm * logit(score, FINEST)
            + self.log_probability * min(log_probability, 0.0)
        )


class JointScorer:
    """Scores a step by the reward model's score and its author's confidence.

    The two err on different steps: a reward model sees the text, the author how close it was to
    another text. The confidence comes with the step, so a joint score costs what the reward model's
    does.
    """

    name = "joint"

    def __init__(self, scorer: Scorer, weights: JointWeights) -> None:
        self.scorer = scorer
        self.weights = weights

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput for a step without log-probability, or as `checked_scores`."""
        read = await checked_scores(self.scorer, trace, written)
        values = (
            self.weights.of(value, require_confidence(step.log_probability, self.name))
            for value, step in zip(read.values, written, strict=True)
        )
        return replace(read, values=tuple(values))


def write_weights(path: Path, weights: JointWeights, seen: Seen = frozenset()) -> None:
    """Write weights, and the problems that they were fitted to (`trim.fingerprints`).

    Raises:
        InvalidInput: the file cannot be written; an older one is then kept.
    """
    record = {
        "scorer": "joint",
        "version": VERSION,
        "intercept": weights.intercept,
        "prm": weights.prm,
        "log_probability": weights.log_probability,
        "models": dict(weights.models),
        **seen_field(seen),
    }
    with writing(path):
        write_atomically(path, json.dumps(record, indent=2) + "\n")


def read_weights(path: Path) -> JointWeights:
    """The inverse of `write_weights`.

    Raises:
        InvalidInput: unreadable, of another version, or no such weights.
    """
    try:
        record = read_object(path)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot read the weights of a joint score ({error.strerror}); fit them with"
            f" `trim fit-scorer BANK --out {path}`"
        ) from error
    except ValueError as error:
        raise damaged(path) from error
    if record.get("scorer") != "joint":
        raise damaged(path)
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: unknown version {record.get('version')!r}, expected {VERSION};"
            " fit it again with `trim fit-scorer`"
        )
    try:
        intercept, prm, log_probability = numbers(
            record[name] for name in ("intercept", "prm", "log_probability")
        )
        models = {str(role): str(digest) for role, digest in record["models"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
    return JointWeights(intercept, prm, log_probability, models)


def damaged(path: Path) -> InvalidInput:
    return InvalidInput(f"{path}: not weights of a joint score; fit them with `trim fit-scorer`")


FEWEST = 20
"""Fewest examples of either outcome that weights are fitted to."""
PENALTY = 1e-3
"""L2 penalty, in units of one example's log-likelihood: keeps the weights finite if the signals
separate all right steps from all wrong ones."""

Signals = Sequence[tuple[float, float]]
"""For each step the reward model's score in [0, 1] and the mean log-probability in nats."""


def fit_joint(groups: Sequence[tuple[Signals, bool]], models: Mapping[str, str]) -> JointWeights:
    """Fit the weights by maximum likelihood to groups of steps that are right or wrong as a whole.

    A labelled step is a group of its own, as in logistic regression. Without labels a group is a
    solution, and the known outcome is its answer, which is right where all steps are: P(right) is
    the product over the steps.

    Args:
        groups: the signals of each group's steps, and whether the group is right.
        models: sha256 by role, kept with the weights.

    Raises:
        InvalidInput: fewer than 20 right or 20 wrong groups.
    """
    from scipy.optimize import minimize
    from scipy.special import log_expit

    right = np.array([outcome for _, outcome in groups], dtype=bool)
    for name, found in (("right", int(right.sum())), ("wrong", int((~right).sum()))):
        if found < FEWEST:
            raise InvalidInput(
                f"{found} {name} examples, at least {FEWEST} are needed to weigh scores and"
                " confidence; collect more traces"
            )
    steps = np.array([signal for signals, _ in groups for signal in signals], dtype=np.float64)
    group = np.repeat(np.arange(len(groups)), [len(signals) for signals, _ in groups])
    odds = logit_array(steps[:, 0], FINEST)
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
