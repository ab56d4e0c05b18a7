"""The routing POMDP: hidden states, transitions, hazard of ending and cost.

States of a solution whose newest step is a draft: S0 all steps are right; S1 an earlier step is
wrong (lost); S2 only the draft is wrong (repairable). Arrays index them by 0, 1, 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import read_bytes
from trim.steps import MAX_STEPS

Floats = NDArray[np.float64]

STEPS = MAX_STEPS
"""The horizon: steps are numbered 1 to this."""

STATES = ("S0", "S1", "S2")


@dataclass(frozen=True)
class Process:
    """A Markov decision process of three hidden states and two actions.

    `process_from_accuracies` gives the transition table of arXiv 2601.10245. Other tables, such
    as one in which errors are repaired later, are given by the three matrices. Their rows sum
    to 1.

    Attributes:
        drafting: (3, 3) P(state with the next draft | state of the kept steps).
        rewriting: (3, 3) P(state of the kept steps | state with the draft) if the strong model
            rewrites that draft.
        redrafting: (3, 3) as `drafting`, for the draft after a rewritten step.
        hazard: (31,) h(t) = P(step t is the last | there is a step t); h(30) = 1.
        tokens: mean tokens of a step of the strong model, above 0.
        recovery: P(answer right | a kept step is wrong), in [0, 1); 0 in the paper.
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
                raise InvalidInput(
                    "a transition table needs 3 rows of 3 probabilities that sum to 1"
                )
        if (
            self.hazard.shape != (STEPS + 1,)
            or not np.all((self.hazard >= 0) & (self.hazard <= 1))
            or self.hazard[STEPS] != 1
        ):
            raise InvalidInput(
                f"the hazard needs {STEPS + 1} probabilities h(0)..h({STEPS}), the last of them 1"
            )
        if not 0 < self.tokens < np.inf:
            raise InvalidInput(f"tokens {self.tokens}: must be above 0")
        if not 0 <= self.recovery < 1:
            raise InvalidInput(f"recovery {self.recovery}: must be at least 0 and below 1")

    @cached_property
    def initial_belief(self) -> Floats:
        """(3,) belief after the first draft, before its score."""
        start: Floats = self.drafting[0]
        return start

    @cached_property
    def transitions(self) -> tuple[Floats, Floats]:
        """(3, 3) each: P(state with the next draft | state with this one) after CONTINUE and
        after REGENERATE."""
        return self.drafting, self.rewriting @ self.redrafting

    @cached_property
    def final_accuracy(self) -> tuple[Floats, Floats]:
        """(3,) each: P(answer right | state at the last draft) if it is kept, and rewritten."""
        steps_right = np.array([1.0, 0.0, 0.0])
        return self.answer_accuracy(steps_right), self.answer_accuracy(self.rewriting[:, 0])

    def answer_accuracy(self, steps_right: Floats) -> Floats:
        """P(answer right) from P(all kept steps right), of any shape."""
        return np.asarray(steps_right + (1 - steps_right) * self.recovery)

    @property
    def has_paired_rows(self) -> bool:
        """Whether the next state depends only on P(S0) after CONTINUE and only on P(S1) after
        REGENERATE, the condition of `trim.policies.pomdp.line_plan`."""
        keep, rewrite = self.transitions
        same_kept = np.allclose(keep[1], keep[2], atol=1e-12)
        return same_kept and np.allclose(rewrite[0], rewrite[2], atol=1e-12)

    @cached_property
    def length_distribution(self) -> Floats:
        """(31,) P(a solution has t steps)."""
        survival = np.concatenate([[1.0], np.cumprod(1 - self.hazard)[:-1]])
        distribution: Floats = survival * self.hazard
        return distribution


def process_from_accuracies(
    weak_accuracy: float, strong_accuracy: float, hazard: Floats, tokens: float
) -> Process:
    """The transition table of arXiv 2601.10245 from next-step accuracies p_w and p_s, in (0, 1].

    Raises:
        InvalidInput: an accuracy, the hazard or the tokens are out of range.
    """
    for name, accuracy in (("weak", weak_accuracy), ("strong", strong_accuracy)):
        if not 0 < accuracy <= 1:
            raise InvalidInput(f"{name} accuracy {accuracy}: must be above 0 and at most 1")
    lost = [0.0, 1.0, 0.0]
    drafting = np.array([[weak_accuracy, 0, 1 - weak_accuracy], lost, lost])
    rewritten = [strong_accuracy, 0, 1 - strong_accuracy]
    rewriting = np.array([rewritten, lost, rewritten])
    return Process(drafting, rewriting, drafting, np.asarray(hazard, dtype=np.float64), tokens)


LARGEST_REWARD = 1e12
SHORTEST = 2
BANDWIDTH = 0.1
"""Kernel width in standard deviations of the lengths."""
MIN_KERNEL_WIDTH = 0.1
"""In steps; a narrower kernel gives the same values at whole steps."""


def fit_hazard(lengths: Sequence[int]) -> Floats:
    """(31,) h(0)..h(30) from numbers of steps, clipped to 2..30.

    A Gaussian kernel density p with bandwidth factor 0.1 at whole steps (arXiv 2601.10245):
    h(t) = p(t) / sum of p(t)..p(30).

    Raises:
        InvalidInput: `lengths` is empty.
    """
    if not lengths:
        raise InvalidInput("the hazard needs the length of at least one solution")
    clipped = np.clip(np.asarray(lengths, dtype=np.float64), SHORTEST, STEPS)
    width = max(BANDWIDTH * float(clipped.std()), MIN_KERNEL_WIDTH)
    steps = np.arange(SHORTEST, STEPS + 1)
    values, counts = np.unique(clipped, return_counts=True)
    density = np.exp(-0.5 * ((steps[:, None] - values) / width) ** 2) @ counts
    remaining = np.cumsum(density[::-1])[::-1]
    hazard = np.zeros(STEPS + 1)
    # Beyond the longest solution the density rounds to 0 / 0: the hazard is 1 there.
    hazard[SHORTEST:] = np.divide(
        density, remaining, out=np.ones_like(density), where=remaining > 1e-9 * remaining[0]
    )
    hazard[STEPS] = 1
    return hazard


def read_hazard(path: Path) -> Floats:
    """h(0)..h(30) from a JSON list.

    Raises:
        InvalidInput: the file is unreadable or not such a list.
    """
    try:
        values = parse_json(read_bytes(path))
        hazard = np.array(values, dtype=np.float64)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: not a JSON list of numbers h(0)..h({STEPS})") from error
    if hazard.shape != (STEPS + 1,):
        raise InvalidInput(f"{path}: not a JSON list of {STEPS + 1} numbers h(0)..h({STEPS})")
    return hazard


@dataclass(frozen=True)
class RoutingProblem:
    """A finite-horizon POMDP without discount, steps 1 to 30.

    Attributes:
        process: states, transitions, hazard and tokens.
        observation_model: (K, 3) P(observation k | state); each column sums to 1.
        price: lambda >= 0, cost of a token of a rewritten step in units of the reward.
        reward: R > 0, of a right solution.
    """

    process: Process
    observation_model: Floats
    price: float
    reward: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.reward <= LARGEST_REWARD:
            raise InvalidInput(
                f"reward {self.reward}: must be above 0 and at most {LARGEST_REWARD:g}"
            )
        if not 0 <= self.price <= self.reward:
            raise InvalidInput(
                f"cost {self.price}: the price of a token is from 0 to the reward {self.reward:g}"
            )
