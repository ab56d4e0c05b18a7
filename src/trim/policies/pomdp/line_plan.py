"""The planner for tables with paired rows: the plan is one convex function on a line per step.

If the rows of CONTINUE are equal for S1 and S2, the next belief depends only on P(S0); if those
of REGENERATE are equal for S0 and S2, only on 1 - P(S1). The beliefs that can follow an action
lie on a segment between two rows of its table, and the optimal value on a segment is a convex
function of the position x in [0, 1]. In the table of arXiv 2601.10245 both actions lead to the
same segment.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.process import STEPS, Floats, RoutingProblem

SegmentMap = tuple[int, float, float]
"""Index of a segment, and the positions on it for probability 0 and probability 1."""

COARSEST, FINEST = 33, 4097
"""Grid points on a segment; their number doubles until the gap is small enough."""


@dataclass(frozen=True)
class Segment:
    """Beliefs x * high + (1 - x) * low for x in [0, 1]; both ends have shape (3,)."""

    high: Floats
    low: Floats

    def position(self, belief: Floats) -> float | None:
        """x of a belief; None if it is not on the segment."""
        along = self.high - self.low
        length = float(along @ along)
        x = float((belief - self.low) @ along / length) if length else 0.0
        on = np.allclose(self.low + x * along, belief, atol=1e-12) and -1e-12 <= x <= 1 + 1e-12
        return min(max(x, 0.0), 1.0) if on else None


@dataclass(frozen=True)
class LinePlan:
    """Bounds on the value of every belief that can follow an action (`Plan`).

    Attributes:
        lower, upper: bounds on the value before the first observation.
        grid: (n,) positions on a segment at which both bounds were computed.
        intercepts, slopes: (31, segments, n). At [t], the lower bound on the value before the
            observation at step t and at position x is the larger of the two lines
            intercept + slope * x of the neighbouring grid points. Each line is the value of
            some policy. [0] is unused.
        segment_maps: the successors of CONTINUE by P(S0), and of REGENERATE by 1 - P(S1).
    """

    problem: RoutingProblem
    lower: float
    upper: float
    grid: Floats
    intercepts: Floats
    slopes: Floats
    segment_maps: tuple[SegmentMap, SegmentMap]

    def gain(self, step: int, right: float, lost: float) -> float:
        grid, lines = self._lists
        last = len(grid) - 2
        values = []
        for (segment, zero, one), probability in zip(
            self.segment_maps, (right, 1 - lost), strict=True
        ):
            x = zero + (one - zero) * probability
            i = min(bisect_right(grid, x) - 1, last)
            intercepts, slopes = lines[min(step + 1, STEPS)][segment]
            values.append(max(intercepts[i] + slopes[i] * x, intercepts[i + 1] + slopes[i + 1] * x))
        return values[1] - values[0]

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        t = min(step + 1, STEPS)
        keep, rewrite = (
            lower_bounds(
                zero + (one - zero) * probability,
                self.grid,
                self.intercepts[t, s],
                self.slopes[t, s],
            )
            for (s, zero, one), probability in zip(
                self.segment_maps, (right, 1 - lost), strict=True
            )
        )
        return rewrite - keep

    @cached_property
    def _lists(self) -> tuple[list[float], list[list[tuple[list[float], list[float]]]]]:
        """Lists: single elements are read faster than from arrays."""
        return self.grid.tolist(), [
            [(a.tolist(), s.tolist()) for a, s in zip(at, slopes, strict=True)]
            for at, slopes in zip(self.intercepts, self.slopes, strict=True)
        ]


def lower_bounds(x: Floats, grid: Floats, intercepts: Floats, slopes: Floats) -> Floats:
    """The lower bound at positions x, of any shape."""
    i = cell_indices(x, grid)
    return np.maximum(intercepts[i] + slopes[i] * x, intercepts[i + 1] + slopes[i + 1] * x)


def cell_indices(x: Floats, grid: Floats) -> NDArray[np.int64]:
    """Index of the grid point at or below each x in [0, 1]."""
    return np.minimum(np.searchsorted(grid, x, side="right") - 1, len(grid) - 2)


def plan_lines(problem: RoutingProblem, gap: float, finest: int = FINEST) -> LinePlan:
    """Plan with upper - lower <= `gap` (units of the reward), using at most `finest` points.

    Raises:
        InvalidInput: the rows are not paired, or the gap is not above 0.
    """
    if not gap > 0:
        raise InvalidInput(f"gap {gap}: must be above 0")
    if not problem.process.has_paired_rows:
        raise InvalidInput("transition rows are not paired; use plan_triangle")
    points = min(COARSEST, finest)
    while True:
        plan = plan_on_grid(problem, points)
        if plan.upper - plan.lower <= gap or points >= finest:
            return plan
        points = min(2 * points - 1, finest)


def plan_on_grid(problem: RoutingProblem, points: int) -> LinePlan:
    """One backward pass with `points` grid points per segment.

    Upper bound: backed up at the grid points, and interpolated by secants, which lie above any
    convex function. Lower bound: the best action at a grid point for each observation is a
    policy, whose value is a line on the segment.
    """
    process, reward = problem.process, problem.reward
    price = problem.price * process.tokens
    segments, segment_maps = successor_segments(problem)
    # Denser at both ends, where informative scores lead.
    grid = (1 - np.cos(np.pi * np.linspace(0, 1, points))) / 2
    grid[-1] = 1.0
    beliefs = np.concatenate([grid[:, None] * (s.high - s.low) + s.low for s in segments])
    likelihoods = problem.observation_model.T
    joint = beliefs.T[:, :, None] * likelihoods[:, None, :]
    total = joint.sum(axis=0)
    shares = joint[[0, 0]]
    shares[1] += joint[2]
    shares /= np.maximum(total, 1e-300)
    keep, rewrite = (
        Successors.of(mapping, np.minimum(share, 1.0), grid)
        for mapping, share in zip(segment_maps, shares, strict=True)
    )

    final_values = np.array(
        [reward * process.final_accuracy[0], reward * process.final_accuracy[1] - price]
    )
    final_q = np.tensordot(final_values, joint, axes=1)
    final_upper = final_q.max(axis=0).sum(axis=1)
    rewritten = final_q[1] > final_q[0]
    final_states = np.where(rewritten[..., None], final_values[1], final_values[0])
    final_states = np.einsum("rks,sk->rs", final_states, likelihoods)

    upper, states = final_upper, final_states
    shape = (len(segments), points)
    intercepts, slopes = np.zeros((STEPS + 1, *shape)), np.zeros((STEPS + 1, *shape))
    for t in range(STEPS, 0, -1):
        if t < STEPS:
            h = process.hazard[t]
            best = np.maximum(keep.secant(upper), rewrite.secant(upper) - price)
            upper = h * final_upper + (1 - h) * (total * best).sum(axis=1)
            lines = intercepts[t + 1].ravel(), slopes[t + 1].ravel()
            kept_value, kept_base, kept_extra = keep.tangent(*lines)
            rewritten_value, rewritten_base, rewritten_extra = rewrite.tangent(*lines)
            rewritten = rewritten_value - price > kept_value
            base = np.where(rewritten, rewritten_base - price, kept_base)
            # Both lines rise with P(S0), and that of REGENERATE equally with P(S2).
            continued = np.stack(
                [
                    (base + np.where(rewritten, rewritten_extra, kept_extra)) @ likelihoods[0],
                    base @ likelihoods[1],
                    (base + np.where(rewritten, rewritten_extra, 0)) @ likelihoods[2],
                ],
                axis=1,
            )
            states = h * final_states + (1 - h) * continued
        for i, (segment, values) in enumerate(
            zip(segments, np.split(states, shape[0]), strict=True)
        ):
            intercepts[t, i] = values @ segment.low
            slopes[t, i] = values @ (segment.high - segment.low)
    # The first draft follows from S0: the upper end of the first segment.
    lower = float(intercepts[1, 0, -1] + slopes[1, 0, -1])
    return LinePlan(
        problem, lower, float(upper[points - 1]), grid, intercepts, slopes, segment_maps
    )


@dataclass(frozen=True)
class Successors:
    """Positions after an action from each (grid point, observation), all (rows, K).

    Attributes:
        x: the position.
        below: index of the grid point at or below it, over all segments in order.
        part: fraction of the way to the next grid point, in [0, 1].
        zero, scale: x = zero + scale * the probability on which the successor depends.
    """

    x: Floats
    below: NDArray[np.int64]
    part: Floats
    zero: float
    scale: float

    @staticmethod
    def of(mapping: SegmentMap, share: Floats, grid: Floats) -> Successors:
        segment, zero, one = mapping
        x = zero + (one - zero) * share
        below = cell_indices(x, grid)
        part = (x - grid[below]) / np.diff(grid)[below]
        return Successors(x, below + segment * len(grid), part, zero, one - zero)

    def secant(self, values: Floats) -> Floats:
        """Linear interpolation of `values` at the grid points."""
        return np.asarray(values[self.below] * (1 - self.part) + values[self.below + 1] * self.part)

    def tangent(self, intercepts: Floats, slopes: Floats) -> tuple[Floats, Floats, Floats]:
        """Value of the larger neighbouring line, and that line as base + extra * probability."""
        sides = self.below, self.below + 1
        left, right = (intercepts[side] + slopes[side] * self.x for side in sides)
        better = np.where(left >= right, *sides)
        slope = slopes[better]
        base = intercepts[better] + slope * self.zero
        return np.maximum(left, right), base, slope * self.scale


def successor_segments(
    problem: RoutingProblem,
) -> tuple[list[Segment], tuple[SegmentMap, SegmentMap]]:
    """The segments after CONTINUE and REGENERATE; one if the second lies on the first."""
    keep, rewrite = problem.process.transitions
    first, second = Segment(keep[0], keep[1]), Segment(rewrite[0], rewrite[1])
    zero, one = first.position(second.low), first.position(second.high)
    if zero is not None and one is not None:
        return [first], ((0, 0.0, 1.0), (0, zero, one))
    return [first, second], ((0, 0.0, 1.0), (1, 0.0, 1.0))
