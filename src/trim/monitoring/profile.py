"""Statistics of a router during calibration, as a reference for later runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import kstwo

from trim.errors import InvalidInput
from trim.files import numbers
from trim.types import Action, Trace


@dataclass(frozen=True)
class Average:
    """Mean and spread of `count` independent values.

    Attributes:
        mean: 0 without values.
        deviation: sample standard deviation (n - 1); 0 for less than two values.
    """

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0

    @staticmethod
    def of(values: Sequence[float]) -> Average:
        if not values:
            return Average()
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return Average(len(values), float(np.mean(values)), deviation)

    @property
    def error(self) -> float:
        """Squared standard error of the mean; needs at least one value."""
        return self.deviation**2 / self.count

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "deviation": self.deviation}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Average:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        count, mean, deviation = numbers(record[key] for key in ("count", "mean", "deviation"))
        if not (count >= 0 and count == int(count) and deviation >= 0):
            raise ValueError(f"{count:g} values with a deviation of {deviation:g}")
        return Average(int(count), mean, deviation)


QUANTILES = 101
"""Stored quantiles: every hundredth."""


@dataclass(frozen=True)
class Distance:
    """The largest difference of two empirical distribution functions.

    Attributes:
        value: where they differ most.
        current, reference: shares of the new and the reference sample at or below `value`, in
            [0, 1].
        p_value: of a distance at least as large if both samples have one distribution.
    """

    value: float
    current: float
    reference: float
    p_value: float

    @property
    def statistic(self) -> float:
        """The Kolmogorov-Smirnov distance D, in [0, 1]."""
        return abs(self.current - self.reference)


@dataclass(frozen=True)
class Distribution:
    """The empirical distribution function of a sample, at its quantiles.

    Attributes:
        places: rising; the distinct quantiles, which are values of the sample.
        counts: number of values at or below each of them; the last is the sample's size.
    """

    places: tuple[float, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Distribution:
        """The distribution of a sample with at least one value."""
        ordered = np.sort(values)
        levels = np.linspace(0, 1, QUANTILES)
        places = np.unique(np.quantile(ordered, levels, method="inverted_cdf"))
        counts = np.searchsorted(ordered, places, side="right")
        return Distribution(tuple(places.tolist()), tuple(counts.tolist()))

    @property
    def size(self) -> int:
        return self.counts[-1]

    def compare(self, values: Sequence[float]) -> Distance:
        """Two-sample Kolmogorov-Smirnov test against a new sample with at least one value.

        Evaluated at the stored quantiles and just below them, the distance is at most 0.01 too
        small and never too large: the p-value errs towards 1, also with ties. The p-value is the
        asymptotic one of `scipy.stats.ks_2samp`: that of the one-sample statistic for
        n m / (n + m) values.
        """
        new = np.sort(values)
        reference = np.array(self.counts) / self.size
        current = np.searchsorted(new, self.places, side="right") / len(new)
        # Below the next quantile lies less than the next hundredth of this sample.
        below = np.concatenate(([0.0], (np.floor(reference[:-1] * 100 + 1e-9) + 1) / 100))
        fewer = np.searchsorted(new, self.places, side="left")
        at, under = (
            int(np.abs(current - reference).argmax()),
            int((fewer / len(new) - below).argmax()),
        )
        value, shares = self.places[at], (float(current[at]), float(reference[at]))
        if fewer[under] / len(new) - below[under] > abs(shares[0] - shares[1]):
            value = float(new[fewer[under] - 1])
            shares = (float(fewer[under] / len(new)), float(below[under]))
        pooled = len(new) * self.size / (len(new) + self.size)
        p_value = kstwo.sf(abs(shares[0] - shares[1]), max(1, round(pooled)))
        return Distance(value, *shares, float(p_value))

    def to_json(self) -> dict[str, Any]:
        return {"places": list(self.places), "counts": list(self.counts)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Distribution:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        places, counts = numbers(record["places"]), numbers(record["counts"])
        if not len(places) == len(counts) > 0:
            raise ValueError(f"{len(places)} places and {len(counts)} counts")
        if not all(low < high for values in (places, counts) for low, high in pairwise(values)):
            raise ValueError("places and counts must rise")
        if not all(count >= 1 and count == int(count) for count in counts):
            raise ValueError("counts must be whole numbers from 1")
        return Distribution(places, tuple(int(count) for count in counts))


@dataclass(frozen=True)
class RouteRecord:
    """Scores and actions on one problem, draft by draft.

    Attributes:
        scores: (T,) r_1..r_T of the drafts in order, in [0, 1]; there are no drafts after a
            takeover.
        rewritten: (T,) whether the strong model rewrote the draft.
        denied: (T,) whether a budget denied a rewrite that the policy decided on; empty without
            a budget.
    """

    scores: tuple[float, ...]
    rewritten: tuple[bool, ...]
    denied: tuple[bool, ...] = ()

    @staticmethod
    def of(
        scores: Sequence[float], actions: Sequence[Action], denied: Sequence[bool] = ()
    ) -> RouteRecord:
        """The record of a replay (`trim.rollouts.replay`), one element per draft."""
        rewritten = tuple(action is not Action.CONTINUE for action in actions)
        return RouteRecord(tuple(scores), rewritten, tuple(denied))

    @property
    def desired_rewrite(self) -> bool:
        """Whether the policy decided on a rewrite at any step, granted or denied."""
        return any(self.rewritten) or any(self.denied)

    def after(self, rewritten: bool) -> float | None:
        """Mean score of the drafts after a rewritten step, or after a kept one; None if there
        are none."""
        places = zip(pairwise(self.scores), self.rewritten, strict=False)
        scores = [newest for (_, newest), before in places if before == rewritten]
        return sum(scores) / len(scores) if scores else None


def route_record(trace: Trace) -> RouteRecord:
    """The record of the scored drafts of a trace; those of an abandoned solution come first."""
    steps = [step for step in (*trace.abandoned, *trace.steps) if step.first_score is not None]
    return RouteRecord(
        tuple(step.first_score for step in steps if step.first_score is not None),
        tuple(step.action is not Action.CONTINUE for step in steps),
        tuple(step.denied for step in steps),
    )


@dataclass(frozen=True)
class Profile:
    """Statistics of one policy on the problems of a calibration.

    Problems are independent; the drafts of one problem are not. Each tested statistic therefore
    has one value per problem, the mean over its drafts.

    Attributes:
        problems: number of problems with a scored draft, at least one.
        desired_rewrites: number of problems in which the policy decided on a rewrite.
        first: scores of the first drafts, which no decision has influenced.
        drafts: scores of all drafts; dependent, for display only.
        after_rewritten, after_kept: over problems, the mean score of drafts after a rewritten
            step, and after a kept one (`RouteRecord.after`).
    """

    problems: int
    desired_rewrites: int
    first: Distribution
    drafts: Distribution
    after_rewritten: Average
    after_kept: Average

    @staticmethod
    def of(records: Iterable[RouteRecord]) -> Profile:
        """The profile of the problems of a calibration.

        Raises:
            InvalidInput: no draft has a score.
        """
        scored = [record for record in records if record.scores]
        if not scored:
            raise InvalidInput("no draft has a score; a profile needs a policy that uses scores")
        return Profile(
            problems=len(scored),
            desired_rewrites=sum(record.desired_rewrite for record in scored),
            first=Distribution.of([record.scores[0] for record in scored]),
            drafts=Distribution.of([score for record in scored for score in record.scores]),
            after_rewritten=Average.of(list(scores_after(scored, rewritten=True))),
            after_kept=Average.of(list(scores_after(scored, rewritten=False))),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "problems": self.problems,
            "wanted": self.desired_rewrites,
            "first": self.first.to_json(),
            "drafts": self.drafts.to_json(),
            "after_rewritten": self.after_rewritten.to_json(),
            "after_kept": self.after_kept.to_json(),
        }

    @staticmethod
    def from_json(record: Any) -> Profile:
        """The inverse of `to_json`.

        Raises:
            InvalidInput: anything else.
        """
        try:
            problems, desired = numbers([record["problems"], record["wanted"]])
            if not (problems.is_integer() and desired.is_integer()):
                raise ValueError("numbers of problems must be whole")
            profile = Profile(
                int(problems),
                int(desired),
                Distribution.from_json(record["first"]),
                Distribution.from_json(record["drafts"]),
                Average.from_json(record["after_rewritten"]),
                Average.from_json(record["after_kept"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise malformed(error) from error
        if not profile.is_sound():
            raise malformed(ValueError("inconsistent statistics"))
        return profile

    def is_sound(self) -> bool:
        """Whether the statistics are consistent and within their ranges."""
        averages = self.after_rewritten, self.after_kept
        places = *self.first.places, *self.drafts.places
        return (
            0 <= self.desired_rewrites <= self.problems == self.first.size <= self.drafts.size
            and all(0 <= score <= 1 for score in places)
            and all(0 <= a.mean <= 1 and a.count <= self.problems for a in averages)
        )


def scores_after(records: Iterable[RouteRecord], rewritten: bool) -> Iterator[float]:
    """`RouteRecord.after` of each problem that has such drafts."""
    for record in records:
        score = record.after(rewritten)
        if score is not None:
            yield score


def malformed(error: Exception) -> InvalidInput:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return InvalidInput(f"not a calibration's profile ({reason}); run `trim calibrate` again")
