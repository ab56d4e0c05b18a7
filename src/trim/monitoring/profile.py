"""What calibration saw of a router, for later runs to be compared with."""

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
        mean: 0 where there are none.
        deviation: their standard deviation (n - 1); 0 where there are less than two.
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
        """Squared standard error of the mean; there has to be a value."""
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


PLACES = 101
"""Quantiles that are kept: every hundredth."""


@dataclass(frozen=True)
class Distance:
    """Where two samples differ most.

    Attributes:
        place: a value; the shares of both samples at or below it are furthest apart.
        here, there: those shares in [0, 1], of the new sample and of the old one.
        p_value: of so large a distance or a larger one, if both are of one distribution.
    """

    place: float
    here: float
    there: float
    p_value: float

    @property
    def statistic(self) -> float:
        """The Kolmogorov-Smirnov distance D, in [0, 1]."""
        return abs(self.here - self.there)


@dataclass(frozen=True)
class Distribution:
    """How many values of a sample lie at or below each of its quantiles.

    Attributes:
        places: rising; the sample's quantiles, each once, so values that it holds.
        counts: for each place, the values at or below it. The last is the sample's size.
    """

    places: tuple[float, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Distribution:
        """That of a sample, which may not be empty."""
        ordered = np.sort(values)
        levels = np.linspace(0, 1, PLACES)
        places = np.unique(np.quantile(ordered, levels, method="inverted_cdf"))
        counts = np.searchsorted(ordered, places, side="right")
        return Distribution(tuple(places.tolist()), tuple(counts.tolist()))

    @property
    def size(self) -> int:
        return self.counts[-1]

    def against(self, values: Sequence[float]) -> Distance:
        """The Kolmogorov-Smirnov test of this sample against another, which may not be empty.

        Taken at the places and just below them, the distance is at most a hundredth too small and
        never too large, so the p-value errs towards 1, with ties as well. It is that of
        `scipy.stats.ks_2samp` for large samples n and m: the distribution of the one-sample
        statistic for n m / (n + m) values.
        """
        new = np.sort(values)
        there = np.array(self.counts) / self.size
        here = np.searchsorted(new, self.places, side="right") / len(new)
        # Of this sample less than the next hundredth lies below the next place.
        below = np.concatenate(([0.0], (np.floor(there[:-1] * 100 + 1e-9) + 1) / 100))
        fewer = np.searchsorted(new, self.places, side="left")
        at, under = int(np.abs(here - there).argmax()), int((fewer / len(new) - below).argmax())
        place, shares = self.places[at], (float(here[at]), float(there[at]))
        if fewer[under] / len(new) - below[under] > abs(shares[0] - shares[1]):
            place = float(new[fewer[under] - 1])
            shares = (float(fewer[under] / len(new)), float(below[under]))
        pooled = len(new) * self.size / (len(new) + self.size)
        p_value = kstwo.sf(abs(shares[0] - shares[1]), max(1, round(pooled)))
        return Distance(place, *shares, float(p_value))

    def to_json(self) -> dict[str, Any]:
        return {"places": list(self.places), "counts": list(self.counts)}

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Distribution:
        """The inverse of `to_json`; KeyError, TypeError or ValueError on anything else."""
        places, counts = numbers(record["places"]), numbers(record["counts"])
        if not len(places) == len(counts) > 0:
            raise ValueError(f"{len(places)} places and {len(counts)} counts")
        if not all(low < high for values in (places, counts) for low, high in pairwise(values)):
            raise ValueError("places or counts that do not rise")
        if not all(count >= 1 and count == int(count) for count in counts):
            raise ValueError("counts that are no whole numbers from 1")
        return Distribution(places, tuple(int(count) for count in counts))


@dataclass(frozen=True)
class RouteRecord:
    """What a router saw of one problem, and what it did: draft by draft.

    Attributes:
        scores: r_1..r_T of the drafts in order, in [0, 1]; a solution that the strong model
            has taken over has no drafts from there on.
        rewritten: (T,) whether the strong model wrote the step in place of the draft.
        denied: (T,) whether a budget forbade a rewrite that the policy wanted; empty where
            there is no budget.
    """

    scores: tuple[float, ...]
    rewritten: tuple[bool, ...]
    denied: tuple[bool, ...] = ()

    @staticmethod
    def of(
        scores: Sequence[float], actions: Sequence[Action], denied: Sequence[bool] = ()
    ) -> RouteRecord:
        """That of a replay (`trim.rollouts.replay`): drafts, and what was done about each."""
        rewritten = tuple(action is not Action.CONTINUE for action in actions)
        return RouteRecord(tuple(scores), rewritten, tuple(denied))

    @property
    def wanted(self) -> bool:
        """Whether the policy wanted to rewrite anything. A budget does not change it, since
        it can deny only what was wanted."""
        return any(self.rewritten) or any(self.denied)

    def after(self, rewritten: bool) -> float | None:
        """Mean score of the drafts that follow a rewritten step, or of those that follow a
        kept one; None where there are none."""
        places = zip(pairwise(self.scores), self.rewritten, strict=False)
        scores = [newest for (_, newest), before in places if before == rewritten]
        return sum(scores) / len(scores) if scores else None


def route_record(trace: Trace) -> RouteRecord:
    """The scored drafts of a trace; those of an abandoned solution come first."""
    steps = [step for step in (*trace.abandoned, *trace.steps) if step.score is not None]
    return RouteRecord(
        tuple(step.score for step in steps if step.score is not None),
        tuple(step.action is not Action.CONTINUE for step in steps),
        tuple(step.denied for step in steps),
    )


@dataclass(frozen=True)
class Profile:
    """What a calibration saw under the very policy that is to run.

    Problems are independent and the drafts of one problem are not. So a problem counts once
    in each figure that is tested, with the mean of its own drafts where it has several.

    Attributes:
        problems: those of which a draft was scored, at least one.
        wanted: how many of them the policy wanted to rewrite anything of.
        first: scores of the first drafts, on which no policy has had an influence yet.
        drafts: scores of all drafts. Not independent: to be looked at, not tested.
        after_rewritten, after_kept: over problems, the mean score of drafts that follow a
            rewritten step, and of those that follow a kept one (`RouteRecord.after`).
    """

    problems: int
    wanted: int
    first: Distribution
    drafts: Distribution
    after_rewritten: Average
    after_kept: Average

    @staticmethod
    def of(walks: Iterable[RouteRecord]) -> Profile:
        """The profile of the problems solved in a calibration.

        Raises:
            InvalidInput: no draft has a score.
        """
        scored = [walk for walk in walks if walk.scores]
        if not scored:
            raise InvalidInput("no draft has a score; a profile is of a policy that needs scores")
        return Profile(
            problems=len(scored),
            wanted=sum(walk.wanted for walk in scored),
            first=Distribution.of([walk.scores[0] for walk in scored]),
            drafts=Distribution.of([score for walk in scored for score in walk.scores]),
            after_rewritten=Average.of(list(scores_after(scored, rewritten=True))),
            after_kept=Average.of(list(scores_after(scored, rewritten=False))),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "problems": self.problems,
            "wanted": self.wanted,
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
            problems, wanted = numbers([record["problems"], record["wanted"]])
            if not (problems.is_integer() and wanted.is_integer()):
                raise ValueError("a number of problems that is not whole")
            profile = Profile(
                int(problems),
                int(wanted),
                Distribution.from_json(record["first"]),
                Distribution.from_json(record["drafts"]),
                Average.from_json(record["after_rewritten"]),
                Average.from_json(record["after_kept"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise unsound(error) from error
        if not profile.is_sound():
            raise unsound(ValueError("its figures contradict each other"))
        return profile

    def is_sound(self) -> bool:
        """Whether the figures can be what they are said to be."""
        averages = self.after_rewritten, self.after_kept
        places = *self.first.places, *self.drafts.places
        return (
            0 <= self.wanted <= self.problems == self.first.size <= self.drafts.size
            and all(0 <= score <= 1 for score in places)
            and all(0 <= a.mean <= 1 and a.count <= self.problems for a in averages)
        )


def scores_after(walks: Iterable[RouteRecord], rewritten: bool) -> Iterator[float]:
    """`RouteRecord.after` of each problem that has one."""
    for walk in walks:
        score = walk.after(rewritten)
        if score is not None:
            yield score


def unsound(error: Exception) -> InvalidInput:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return InvalidInput(f"not a calibration's profile ({reason}); calibrate the router anew")
