"""A threshold as a detector of wrong steps: what it finds and what it takes for wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trim.rollouts.bank import Trajectory
from trim.studies.sample import Booleans, Floats, Sample

EVEN = 0.5
"""The threshold at which a step is as likely right as wrong, if scores are probabilities."""


@dataclass(frozen=True)
class Detection:
    """Steps with a score below a threshold, as guesses that they are wrong.

    Attributes:
        precision: share of wrong ones among those below; None where none is below.
        recall: share of those below among the wrong ones; None where none is wrong.
    """

    threshold: float
    precision: float | None
    recall: float | None


def below(scores: Floats, threshold: float) -> Booleans:
    """What `thr` rewrites at this threshold: below it, and everything at 1."""
    found: Booleans = (scores < threshold) | (threshold >= 1)
    return found


def detection(sample: Sample, threshold: float) -> Detection:
    found = below(sample.scores, threshold)
    hits = int((found & ~sample.right).sum())
    return Detection(threshold, _share(hits, int(found.sum())), _share(hits, sample.wrong))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True)
class DetectionCurve:
    """Precision and recall at every threshold that parts the scores, recall rising.

    Arrays of shape (k,); the last threshold is 1, at which every step is below.
    """

    thresholds: Floats
    precision: Floats
    recall: Floats

    @property
    def best(self) -> tuple[float, float]:
        """The threshold with the highest F1, the lowest of equals, and that F1.

        F1 is the harmonic mean of precision and recall.
        """
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-300)
        place = int(np.argmax(f1))
        return float(self.thresholds[place]), float(f1[place])

    def thinned(self, points: int) -> DetectionCurve:
        """At most so many points, evenly over the thresholds, both ends kept."""
        last = len(self.thresholds) - 1
        kept = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(np.int64))
        return DetectionCurve(self.thresholds[kept], self.precision[kept], self.recall[kept])


def detection_curve(sample: Sample) -> DetectionCurve:
    """The curve of a sample with at least one wrong step."""
    values, place = np.unique(sample.scores, return_inverse=True)
    found = np.cumsum(np.bincount(place.reshape(-1)))
    hits = np.cumsum(np.bincount(place.reshape(-1), weights=~sample.right))
    middle = (values[:-1] + values[1:]) / 2
    thresholds = np.append(np.where(middle > values[:-1], middle, values[1:]), 1.0)
    # Below 1 nothing may be left that parts a score of 1 from the one before it.
    kept = np.append(thresholds[:-1] < 1, True)
    return DetectionCurve(thresholds[kept], (hits / found)[kept], (hits / sample.wrong)[kept])


@dataclass(frozen=True)
class FirstRewrites:
    """Where a threshold first rewrites the weak model's solutions: shares of all of them.

    Until then its solution is the weak model's own, so this is what it does, exactly.

    Attributes:
        on_error: the first wrong step: the only rewrite that repairs.
        needless: a right step before any wrong one.
        late: a step after the first wrong one: the solution is lost by then.
        missed: no step, though one is wrong.
        left: no step, and none is wrong.
    """

    threshold: float
    on_error: float
    needless: float
    late: float
    missed: float
    left: float


def first_rewrites(solutions: list[Trajectory], threshold: float) -> FirstRewrites:
    """Of at least one solution whose steps have labels."""
    counts = dict.fromkeys(("on_error", "needless", "late", "missed", "left"), 0)
    for solution in solutions:
        found = below(np.array(solution.scores), threshold)
        first = int(found.argmax()) if found.any() else None
        error = solution.right.index(False) if False in solution.right else None
        counts[outcome(first, error)] += 1
    return FirstRewrites(threshold, **{name: n / len(solutions) for name, n in counts.items()})


def outcome(first: int | None, error: int | None) -> str:
    """What a first rewrite at the step `first` does to a first error at the step `error`."""
    if first is None:
        return "left" if error is None else "missed"
    if error is None or first < error:
        return "needless"
    return "on_error" if first == error else "late"
