"""The planner for tables with paired rows: the whole plan is convex functions on a line.

Where the rows of keeping are equal for S1 and S2, the belief after it depends on P(S0)
alone; where those of rewriting are equal for S0 and S2, on 1 - P(S1) alone. The beliefs
that can follow an action lie on a segment between two rows of its table, and the optimal
value on a segment is a convex function of the place x in [0, 1]. In the method's table both
actions lead to one and the same segment, and there is one function for each step.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.problem import RoutingProblem
from trim.policies.pomdp.process import STEPS, Floats

Lead = tuple[int, float, float]
"""Segment, place at probability 0, place at probability 1."""

COARSEST, FINEST = 33, 4097
"""Points on a segment; a pass that is not exact enough is repeated with twice as many."""


@dataclass(frozen=True)
class Segment:
    """Beliefs x * high + (1 - x) * low for x in [0, 1]; both of shape (3,)."""

    high: Floats
    low: Floats

    def place(self, belief: Floats) -> float | None:
        """x of a belief; None where it does not lie on the segment."""
        along = self.high - self.low
        length = float(along @ along)
        x = float((belief - self.low) @ along / length) if length else 0.0
        on = np.allclose(self.low + x * along, belief, atol=1e-12) and -1e-12 <= x <= 1 + 1e-12
        return min(max(x, 0.0), 1.0) if on else None


@dataclass(frozen=True)
class LinePlan:
    """Bounds on the value of every belief that an action can lead to.

    Attributes:
        lower, upper: bounds on the value before the first observation.
        grid: (n,) the places on a segment at which both bounds were computed.
        intercepts, slopes: (31, segments, n) at [t] the lower bounds on the value before
            the observation at step t: at place x the better of the two lines
            intercept + slope * x that belong to the neighbouring points. Each line is what
            some policy earns. [0] is not used.
        leads: where keeping leads by P(S0), and rewriting by 1 - P(S1).
    """

    problem: RoutingProblem
    lower: float
    upper: float
    grid: Floats
    intercepts: Floats
    slopes: Floats
    leads: tuple[Lead, Lead]

    def gain(self, step: int, right: float, lost: float) -> float:
        grid, lines = self._lists
        last = len(grid) - 2
        values = []
        for (segment, zero, one), place in zip(self.leads, (right, 1 - lost), strict=True):
            x = zero + (one - zero) * place
            i = min(bisect_right(grid, x) - 1, last)
            intercepts, slopes = lines[min(step + 1, STEPS)][segment]
            values.append(max(intercepts[i] + slopes[i] * x, intercepts[i + 1] + slopes[i + 1] * x))
        return values[1] - values[0]

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        t = min(step + 1, STEPS)
        keep, rewrite = (
            lower_at(
                zero + (one - zero) * place, self.grid, self.intercepts[t, s], self.slopes[t, s]
            )
            for (s, zero, one), place in zip(self.leads, (right, 1 - lost), strict=True)
        )
        return rewrite - keep

    @cached_property
    def _lists(self) -> tuple[list[float], list[list[tuple[list[float], list[float]]]]]:
        """Plain numbers, which are read faster one by one."""
        return self.grid.tolist(), [
            [(a.tolist(), s.tolist()) for a, s in zip(at, slopes, strict=True)]
            for at, slopes in zip(self.intercepts, self.slopes, strict=True)
        ]


def lower_at(x: Floats, grid: Floats, intercepts: Floats, slopes: Floats) -> Floats:
    i = cells_of(x, grid)
    return np.maximum(intercepts[i] + slopes[i] * x, intercepts[i + 1] + slopes[i + 1] * x)


def cells_of(x: Floats, grid: Floats) -> NDArray[np.int64]:
    """Index of the point below each place; x lies in [0, 1]."""
    return np.minimum(np.searchsorted(grid, x, side="right") - 1, len(grid) - 2)


def plan_lines(problem: RoutingProblem, gap: float, finest: int = FINEST) -> LinePlan:
    """Plan with upper - lower <= `gap` (units of the reward), or as near as `finest` points.

    Raises:
        InvalidInput: rows that are not paired; a gap that is not above 0.
    """
    if not gap > 0:
        raise InvalidInput(f"gap {gap}: a gap between two bounds has to be above 0")
    if not problem.process.paired:
        raise InvalidInput("transition rows that are not paired: not for this planner")
    points = min(COARSEST, finest)
    while True:
        plan = plan_on_grid(problem, points)
        if plan.upper - plan.lower <= gap or points >= finest:
            return plan
        points = min(2 * points - 1, finest)


def plan_on_grid(problem: RoutingProblem, points: int) -> LinePlan:
    """One backward pass over `points` places a segment.

    Upper bound: exact at the places if the next step's were, and between two places the
    secant, which is above any convex function. Lower bound: at each place the best action
    for each observation, which makes a line that this policy earns everywhere.
    """
    process, reward = problem.process, problem.reward
    price = problem.price * process.tokens
    segments, leads = segments_of(problem)
    # Denser at both ends: scores that say much lead there.
    grid = (1 - np.cos(np.pi * np.linspace(0, 1, points))) / 2
    grid[-1] = 1.0
    beliefs = np.concatenate([grid[:, None] * (s.high - s.low) + s.low for s in segments])
    likely = problem.symbols.T
    joint = beliefs.T[:, :, None] * likely[:, None, :]
    total = joint.sum(axis=0)
    shares = joint[[0, 0]]
    shares[1] += joint[2]
    shares /= np.maximum(total, 1e-300)
    keep, rewrite = (
        Way.leading(lead, np.minimum(share, 1.0), grid)
        for lead, share in zip(leads, shares, strict=True)
    )

    worth = np.array([reward * process.finishing[0], reward * process.finishing[1] - price])
    ends = np.tensordot(worth, joint, axes=1)
    end_upper = ends.max(axis=0).sum(axis=1)
    rewritten = ends[1] > ends[0]
    end_states = np.where(rewritten[..., None], worth[1], worth[0])
    end_states = np.einsum("rks,sk->rs", end_states, likely)

    upper, states = end_upper, end_states
    shape = (len(segments), points)
    intercepts, slopes = np.zeros((STEPS + 1, *shape)), np.zeros((STEPS + 1, *shape))
    for t in range(STEPS, 0, -1):
        if t < STEPS:
            h = process.hazard[t]
            best = np.maximum(keep.secant(upper), rewrite.secant(upper) - price)
            upper = h * end_upper + (1 - h) * (total * best).sum(axis=1)
            lines = intercepts[t + 1].ravel(), slopes[t + 1].ravel()
            kept, kept_base, kept_extra = keep.tangent(*lines)
            paid, paid_base, paid_extra = rewrite.tangent(*lines)
            rewritten = paid - price > kept
            base = np.where(rewritten, paid_base - price, kept_base)
            # Either line rises with P(S0); that of rewriting with P(S2) just as much.
            going_on = np.stack(
                [
                    (base + np.where(rewritten, paid_extra, kept_extra)) @ likely[0],
                    base @ likely[1],
                    (base + np.where(rewritten, paid_extra, 0)) @ likely[2],
                ],
                axis=1,
            )
            states = h * end_states + (1 - h) * going_on
        for i, (segment, values) in enumerate(
            zip(segments, np.split(states, shape[0]), strict=True)
        ):
            intercepts[t, i] = values @ segment.low
            slopes[t, i] = values @ (segment.high - segment.low)
    # The first draft follows from S0 for sure: the upper end of the first segment.
    lower = float(intercepts[1, 0, -1] + slopes[1, 0, -1])
    return LinePlan(problem, lower, float(upper[points - 1]), grid, intercepts, slopes, leads)


@dataclass(frozen=True)
class Way:
    """Where an action leads from each (place, observation), all of shape (rows, K).

    Attributes:
        x: the place.
        below: index of the point below it, segments one after the other.
        part: how far the place is from there to the next point, 0..1.
        zero, scale: x = zero + scale * the probability that the action depends on.
    """

    x: Floats
    below: NDArray[np.int64]
    part: Floats
    zero: float
    scale: float

    @staticmethod
    def leading(lead: Lead, share: Floats, grid: Floats) -> Way:
        segment, zero, one = lead
        x = zero + (one - zero) * share
        below = cells_of(x, grid)
        part = (x - grid[below]) / np.diff(grid)[below]
        return Way(x, below + segment * len(grid), part, zero, one - zero)

    def secant(self, values: Floats) -> Floats:
        return np.asarray(values[self.below] * (1 - self.part) + values[self.below + 1] * self.part)

    def tangent(self, intercepts: Floats, slopes: Floats) -> tuple[Floats, Floats, Floats]:
        """Value of the better neighbouring line, and that line as base + extra * probability."""
        sides = self.below, self.below + 1
        left, right = (intercepts[side] + slopes[side] * self.x for side in sides)
        better = np.where(left >= right, *sides)
        slope = slopes[better]
        base = intercepts[better] + slope * self.zero
        return np.maximum(left, right), base, slope * self.scale


def segments_of(problem: RoutingProblem) -> tuple[list[Segment], tuple[Lead, Lead]]:
    """The segments that the two actions lead to; one, where the second lies on the first."""
    keep, rewrite = problem.process.transitions
    first, second = Segment(keep[0], keep[1]), Segment(rewrite[0], rewrite[1])
    zero, one = first.place(second.low), first.place(second.high)
    if zero is not None and one is not None:
        return [first], ((0, 0.0, 1.0), (0, zero, one))
    return [first, second], ((0, 0.0, 1.0), (1, 0.0, 1.0))
