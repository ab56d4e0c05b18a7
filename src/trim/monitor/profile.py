"""What calibration saw of a router, for later runs to be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trim.errors import InvalidInput
from trim.monitor.average import Average
from trim.monitor.distribution import Distribution
from trim.policies.files import numbers
from trim.policies.policy import Action
from trim.trace import Trace


@dataclass(frozen=True)
class Walk:
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
    def of(scores: Sequence[float], actions: Sequence[Action], denied: Sequence[bool] = ()) -> Walk:
        """That of a replay (`trim.bank.replay`): drafts, and what was done about each."""
        rewritten = tuple(action is not Action.CONTINUE for action in actions)
        return Walk(tuple(scores), rewritten, tuple(denied))

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


def walk_of(trace: Trace) -> Walk:
    """The scored drafts of a trace; those of an abandoned solution come first."""
    steps = [step for step in (*trace.abandoned, *trace.steps) if step.score is not None]
    return Walk(
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
            rewritten step, and of those that follow a kept one (`Walk.after`).
    """

    problems: int
    wanted: int
    first: Distribution
    drafts: Distribution
    after_rewritten: Average
    after_kept: Average

    @staticmethod
    def of(walks: Iterable[Walk]) -> Profile:
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


def scores_after(walks: Iterable[Walk], rewritten: bool) -> Iterator[float]:
    """`Walk.after` of each problem that has one."""
    for walk in walks:
        score = walk.after(rewritten)
        if score is not None:
            yield score


def unsound(error: Exception) -> InvalidInput:
    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
    return InvalidInput(f"not a calibration's profile ({reason}); calibrate the router anew")
