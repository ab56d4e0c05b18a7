"""The process behind a trace: how its hidden state moves, when it ends, what it costs.

The states of a trace whose newest step is a draft: S0 all steps right; S1 an earlier step
is wrong, it is lost; S2 only the newest is wrong. Arrays index them by 0, 1, 2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.steps import MAX_STEPS

Floats = NDArray[np.float64]

STEPS = MAX_STEPS
"""The horizon."""

STATES = ("S0", "S1", "S2")


@dataclass(frozen=True)
class Process:
    """A Markov chain of three states with two actions.

    The method's table (arXiv 2601.10245, transition model) comes from `method_process`;
    any other, as one in which errors may heal, is given by its three parts.

    Attributes:
        drafting: (3, 3) P(state with the next draft | state of the kept steps).
        rewriting: (3, 3) P(state of the kept steps | state with the draft) where the
            strong model rewrites that draft.
        redrafting: (3, 3) as `drafting`, for the draft after a rewritten step.
        hazard: (31,) h(t), probability that step t is the last one if there is one;
            h(30) = 1.
        tokens: mean tokens of a step that the strong model writes.
        recovery: P(answer right | a kept step is wrong), in [0, 1): wrong values that meet the
            right ones again. 0 in the method.
    """

    drafting: Floats
    rewriting: Floats
    redrafting: Floats
    hazard: Floats
    tokens: float
    recovery: float = 0.0

    def __post_init__(self) -> None:
        for table in (self.drafting, self.rewriting, self.redrafting):
            if (
                table.shape != (3, 3)
                or not np.all(table >= 0)
                or not np.allclose(table.sum(axis=1), 1, atol=1e-9)
            ):
                raise InvalidInput("a transition table needs 3 rows of 3 probabilities, sum 1 each")
        if (
            self.hazard.shape != (STEPS + 1,)
            or not np.all((self.hazard >= 0) & (self.hazard <= 1))
            or self.hazard[STEPS] != 1
        ):
            raise InvalidInput(
                f"the hazard of ending needs {STEPS + 1} probabilities h(0)..h({STEPS}),"
                " the last of them 1"
            )
        if not 0 < self.tokens < np.inf:
            raise InvalidInput(f"tokens {self.tokens}: a step has more than 0 tokens")
        if not 0 <= self.recovery < 1:
            raise InvalidInput(f"recovery {self.recovery}: a probability from 0 to below 1")

    @cached_property
    def start(self) -> Floats:
        """(3,) belief when the first step has been drafted and not yet scored."""
        start: Floats = self.drafting[0]
        return start

    @cached_property
    def transitions(self) -> tuple[Floats, Floats]:
        """(3, 3) each: from a state with a draft to that with the next one, if the draft is
        kept, and if it is rewritten."""
        return self.drafting, self.rewriting @ self.redrafting

    @cached_property
    def finishing(self) -> tuple[Floats, Floats]:
        """(3,) each: P(the answer is right | state) if the last draft is kept or rewritten."""
        return self.answered(np.array([1.0, 0.0, 0.0])), self.answered(self.rewriting[:, 0])

    def answered(self, sound: Floats) -> Floats:
        """P(the answer is right) from P(all kept steps are right), of any shape."""
        return np.asarray(sound + (1 - sound) * self.recovery)

    @property
    def paired(self) -> bool:
        """Whether what follows depends on P(S0) alone if a draft is kept, and on P(S1)
        alone if it is rewritten."""
        keep, rewrite = self.transitions
        same_kept = np.allclose(keep[1], keep[2], atol=1e-12)
        return same_kept and np.allclose(rewrite[0], rewrite[2], atol=1e-12)

    @cached_property
    def lengths(self) -> Floats:
        """(31,) probability that a solution has t steps."""
        going_on = np.concatenate([[1.0], np.cumprod(1 - self.hazard)[:-1]])
        lengths: Floats = going_on * self.hazard
        return lengths


def method_process(
    weak_accuracy: float, strong_accuracy: float, hazard: Floats, tokens: float
) -> Process:
    """The method's transition table from the next-step accuracies p_w and p_s, in (0, 1].

    Raises:
        InvalidInput: an accuracy, the hazard or the tokens are outside their range.
    """
    for name, accuracy in (("weak", weak_accuracy), ("strong", strong_accuracy)):
        if not 0 < accuracy <= 1:
            raise InvalidInput(f"{name} accuracy {accuracy}: a next-step accuracy is in (0, 1]")
    lost = [0.0, 1.0, 0.0]
    drafting = np.array([[weak_accuracy, 0, 1 - weak_accuracy], lost, lost])
    rewritten = [strong_accuracy, 0, 1 - strong_accuracy]
    rewriting = np.array([rewritten, lost, rewritten])
    return Process(drafting, rewriting, drafting, np.asarray(hazard, dtype=np.float64), tokens)


SHORTEST = 2
BANDWIDTH = 0.1
"""Kernel width in standard deviations of the lengths."""
NARROWEST = 0.1
"""Kernel width, in steps, below which nothing changes at whole steps."""


def hazard_of(lengths: Sequence[int]) -> Floats:
    """(31,) h(0)..h(30) from the steps of solutions, clipped to 2..30.

    A Gaussian kernel density with bandwidth factor 0.1, read at whole steps
    (arXiv 2601.10245): h(t) = p(t) / sum of p(t)..p(30).

    Raises:
        InvalidInput: no length at all.
    """
    if not lengths:
        raise InvalidInput("the hazard of ending needs the length of at least one solution")
    clipped = np.clip(np.asarray(lengths, dtype=np.float64), SHORTEST, STEPS)
    width = max(BANDWIDTH * float(clipped.std()), NARROWEST)
    steps = np.arange(SHORTEST, STEPS + 1)
    values, counts = np.unique(clipped, return_counts=True)
    density = np.exp(-0.5 * ((steps[:, None] - values) / width) ** 2) @ counts
    remaining = np.cumsum(density[::-1])[::-1]
    hazard = np.zeros(STEPS + 1)
    # Beyond the longest solution all that is left rounds to nothing: there it ends.
    hazard[SHORTEST:] = np.divide(
        density, remaining, out=np.ones_like(density), where=remaining > 1e-9 * remaining[0]
    )
    hazard[STEPS] = 1
    return hazard


def read_hazard(path: Path) -> Floats:
    """h(0)..h(30) from a JSON list.

    Raises:
        InvalidInput: unreadable, or not such a list.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        hazard = np.array(values, dtype=np.float64)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: not a JSON list of numbers h(0)..h({STEPS})") from error
    if hazard.shape != (STEPS + 1,):
        raise InvalidInput(f"{path}: not a JSON list of {STEPS + 1} numbers h(0)..h({STEPS})")
    return hazard
