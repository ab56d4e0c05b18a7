"""What a reward model and the writer's own confidence say together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trim.errors import InvalidInput
from trim.files import read_object, write_atomically, writing
from trim.models.model import Completion, Prefix
from trim.odds import FINEST, log_odds, logistic
from trim.scorers.confidence import told
from trim.scorers.scorer import Scorer, Scores
from trim.seen import Seen, seen_field

NAME = "joint.json"
"""Of the weights' file in a folder of models."""
VERSION = 1


@dataclass(frozen=True)
class JointWeights:
    """A logistic regression on two signals (stacking: Wolpert 1992, Neural Networks 5).

    Attributes:
        intercept: log-odds of a right step whose score is 0.5 and whose tokens were certain.
        prm: weight of the log-odds of the reward model's score.
        log_probability: weight of the mean log-probability of the step's tokens, in nats.
        models: sha256 by role of the files that they were fitted to.
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
        return logistic(
            self.intercept
            + self.prm * log_odds(score, FINEST)
            + self.log_probability * min(log_probability, 0.0)
        )


class JointScorer:
    """Scores a step by the reward model's score and by how sure its author was.

    The two err about different steps: a reward model reads what stands there, and the
    author knew how close it was to writing something else. The confidence comes with the
    step, so a joint score costs what the reward model's does.
    """

    name = "joint"

    def __init__(self, scorer: Scorer, weights: JointWeights) -> None:
        self.scorer = scorer
        self.weights = weights

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Raises InvalidInput where a step came without its log-probability."""
        read = await self.scorer.score(trace, written)
        values = (
            self.weights.of(value, told(step.log_probability, self.name))
            for value, step in zip(read.values, written, strict=True)
        )
        return replace(read, values=tuple(values))


def write_weights(path: Path, weights: JointWeights, seen: Seen = frozenset()) -> None:
    """Write weights, and the problems that they were fitted to (`trim.seen`).

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
            f"{path}: no readable weights of a joint score ({error.strerror}); fit them with"
            f" `trim fit-scorer BANK --out {path}`"
        ) from error
    except ValueError as error:
        raise damaged(path) from error
    if record.get("scorer") != "joint":
        raise damaged(path)
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r} of this file is not known, {VERSION} is;"
            " fit it anew with `trim fit-scorer`"
        )
    try:
        intercept, prm, log_probability = (
            float(record[name]) for name in ("intercept", "prm", "log_probability")
        )
        models = {str(role): str(digest) for role, digest in record["models"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
    if not all(map(math.isfinite, (intercept, prm, log_probability))):
        raise damaged(path)
    return JointWeights(intercept, prm, log_probability, models)


def damaged(path: Path) -> InvalidInput:
    return InvalidInput(f"{path}: no weights of a joint score; fit them with `trim fit-scorer`")
