"""Solved problems as the model is fitted to: what was kept, who wrote it, how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trim.errors import InvalidInput

WRONG_BELOW = 0.35
"""Score of the first wrong step where no label says which it is (the method's scripts)."""


@dataclass(frozen=True)
class Trajectory:
    """The kept steps 1..T of one finished solution.

    Attributes:
        scores: r_1..r_T in [0, 1].
        tokens: of each step, decoded by its author.
        by_strong: whether the strong model wrote each step.
        correct: whether the final answer is right.
        right: whether each step is right, where that is known; else None.
    """

    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    by_strong: tuple[bool, ...]
    correct: bool
    right: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.scores), len(self.tokens), len(self.by_strong)}
        if self.right is not None:
            lengths.add(len(self.right))
        if len(lengths) != 1 or not self.scores:
            raise InvalidInput("a solution needs at least one step, each with score and tokens")
        if not all(0 <= score <= 1 for score in self.scores):
            raise InvalidInput("a solution has a score outside [0, 1]")

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step, None if there is none.

        Without labels all steps of a right solution are right, and the first wrong one of
        another is the first with a score below 0.35, or else the lowest one.
        """
        if self.right is not None:
            return self.right.index(False) if False in self.right else None
        if self.correct:
            return None
        low = (i for i, score in enumerate(self.scores) if score < WRONG_BELOW)
        return next(low, self.scores.index(min(self.scores)))

    def examples(self) -> Iterator[tuple[int, float, float]]:
        """State, lowest earlier score and newest score at every step.

        The method cuts a right trace at each quarter and a wrong one at its first error and
        once later; every step is seen by a filter, so here every step is an example.
        """
        error, lowest = self.first_error, 1.0
        for i, score in enumerate(self.scores):
            state = 0 if error is None or i < error else 2 if i == error else 1
            yield state, lowest, score
            lowest = min(lowest, score)

    def judged(self) -> Iterator[tuple[bool, bool]]:
        """By the strong model, and right, of each step after steps that are all right."""
        error = self.first_error
        for i, strong in enumerate(self.by_strong):
            yield strong, i != error
            if i == error:
                return
