"""A threshold as a detector of wrong steps: precision, recall and first rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trim.rollouts.bank import Trajectory
from trim.studies.resamples import draw_resamples, interval_of
from trim.studies.sample import Booleans, Floats, Integers, Sample

EVEN = 0.5
"""Threshold at which a step is equally likely right or wrong, if scores are probabilities."""


@dataclass(frozen=True)
class Detection:
    """Steps with a score below a threshold, as predictions that they are wrong.

    Attributes:
        precision: share of wrong steps among those below; None if no step is below.
        recall: share of steps below among the wrong ones; None if no step is wrong.
    """

    threshold: float
    precision: float | None
    recall: float | None


def below(scores: Floats, threshold: float) -> Booleans:
    """Steps that `thr` rewrites at this threshold: those below it, and all at 1."""
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
    """Precision and recall at every threshold that separates scores, in ascending order.

    Arrays of shape (k,); the last threshold is 1, at which every step is below.
    """

    thresholds: Floats
    precision: Floats
    recall: Floats

    @property
    def best(self) -> tuple[float, float]:
        """The lowest threshold with the highest F1, and that F1.

        F1 is the harmonic mean of precision and recall.
        """
        f1 = harmonic_mean(self.precision, self.recall)
        place = int(np.argmax(f1))
        return float(self.thresholds[place]), float(f1[place])

    def thinned(self, points: int) -> DetectionCurve:
        """At most `points` points, evenly spaced over the thresholds, with both ends."""
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
    # A midpoint below a score of 1 may round to 1, which is the last threshold already.
    kept = np.append(thresholds[:-1] < 1, True)
    return DetectionCurve(thresholds[kept], (hits / found)[kept], (hits / sample.wrong)[kept])


@dataclass(frozen=True)
class FirstErrors:
    """A threshold as a finder of first errors: the first step below it is taken for the first error
    (ProcessBench, arXiv 2412.06559).

    Attributes:
        found: share of the solutions with an error in which that step is its first one.
        clean: share of the solutions without an error in which no step is below.
        f1: harmonic mean of the two.
        interval: 95 % bootstrap interval of `f1`, from resampled problems.
    """

    threshold: float
    found: float
    clean: float
    f1: float
    interval: tuple[float, float]


class FirstErrorFinder:
    """First errors of labelled solutions, and the steps that thresholds take for them.

    Args:
        problems: (n,) index of the problem of each solution.
    """

    def __init__(self, solutions: Sequence[Trajectory], problems: Integers) -> None:
        longest = max(len(each.scores) for each in solutions)
        # Beyond the end of a solution no step is below a threshold.
        self.scores = np.full((len(solutions), longest), np.inf)
        for place, each in enumerate(solutions):
            self.scores[place, : len(each.scores)] = each.scores
        self.errors = np.array(
            [each.right.index(False) if False in each.right else longest for each in solutions]
        )
        self.has_error = self.errors < longest
        self.problem = np.unique(problems, return_inverse=True)[1].reshape(-1)

    @property
    def is_applicable(self) -> bool:
        """Whether there are solutions with and without an error."""
        return bool(self.has_error.any() and not self.has_error.all())

    def at(self, threshold: float) -> FirstErrors:
        hit = self._hits(threshold)
        figures = [
            np.bincount(self.problem, weights=chosen)
            for chosen in (
                hit & self.has_error,
                self.has_error,
                hit & ~self.has_error,
                ~self.has_error,
            )
        ]
        found, errors, clean, others = (float(figure.sum()) for figure in figures)
        with np.errstate(invalid="ignore"):
            draws = np.concatenate(
                [
                    harmonic_mean(
                        (times @ figures[0]) / (times @ figures[1]),
                        (times @ figures[2]) / (times @ figures[3]),
                    )
                    for times in draw_resamples(len(figures[0]))
                ]
            )
        shares = found / errors, clean / others
        f1 = float(harmonic_mean(*map(np.asarray, shares)))
        return FirstErrors(threshold, *shares, f1, interval_of(draws))

    def best_threshold(self, thresholds: Floats) -> float:
        """The lowest of the thresholds with the highest F1."""
        shares = [
            (hit[self.has_error].mean(), hit[~self.has_error].mean())
            for hit in map(self._hits, thresholds.tolist())
        ]
        return float(thresholds[int(np.argmax(harmonic_mean(*np.array(shares).T)))])

    def _hits(self, threshold: float) -> Booleans:
        """(n,) whether the first step below the threshold is the first error, or both are none."""
        found = below(self.scores, threshold) & np.isfinite(self.scores)
        first = np.where(found.any(axis=1), found.argmax(axis=1), found.shape[1])
        hits: Booleans = first == self.errors
        return hits


def harmonic_mean(one: Floats, other: Floats) -> Floats:
    """2 a b / (a + b), which is 0 if both are."""
    mean: Floats = 2 * one * other / np.maximum(one + other, 1e-300)
    return mean


@dataclass(frozen=True)
class FirstRewrites:
    """Where a threshold first rewrites weak solutions, as shares of all solutions.

    The shares are exact: up to its first rewrite, a routed solution is the weak model's.

    Attributes:
        on_error: on the first wrong step, the only rewrite that repairs.
        needless: on a right step before the first wrong one.
        late: after the first wrong step, when the solution is lost.
        missed: never, though a step is wrong.
        left: never, and no step is wrong.
    """

    threshold: float
    on_error: float
    needless: float
    late: float
    missed: float
    left: float


def first_rewrites(solutions: list[Trajectory], threshold: float) -> FirstRewrites:
    """First rewrites of at least one labelled solution."""
    counts = dict.fromkeys(("on_error", "needless", "late", "missed", "left"), 0)
    for solution in solutions:
        found = below(np.array(solution.scores), threshold)
        first = int(found.argmax()) if found.any() else None
        error = solution.right.index(False) if False in solution.right else None
        counts[outcome(first, error)] += 1
    return FirstRewrites(threshold, **{name: n / len(solutions) for name, n in counts.items()})


def outcome(first: int | None, error: int | None) -> str:
    """The outcome (a field of `FirstRewrites`) of a first rewrite and a first error, by step."""
    if first is None:
        return "left" if error is None else "missed"
    if error is None or first < error:
        return "needless"
    return "on_error" if first == error else "late"
