"""The general planner: any transition tables, on a triangulation of all beliefs.

Slower than `line_plan` and independent of it: where both apply they have to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.problem import RoutingProblem
from trim.policies.pomdp.process import STEPS, Floats

COARSEST, FINEST = 8, 64
"""Parts of an edge; a pass that is not exact enough is repeated with twice as many."""


@dataclass(frozen=True)
class TrianglePlan:
    """Bounds on the value of every belief.

    Attributes:
        lower, upper: bounds on the value before the first observation.
        parts: M; points are the beliefs (j, M - i, i - j) / M, 0 <= j <= i <= M, at index
            i * (M + 1) + j.
        planes: (31, points, 3) at [t] a lower bound on the value before the observation at
            step t: the best of the planes plane @ belief of the three points around a
            belief. Each is what some policy earns. [0] is not used.
    """

    problem: RoutingProblem
    lower: float
    upper: float
    parts: int
    planes: Floats

    def gain(self, step: int, right: float, lost: float) -> float:
        belief = (right, lost, max(0.0, 1 - right - lost))
        planes = self._lists[min(step + 1, STEPS)]
        values = []
        for table in self._tables:
            b0, b1, b2 = (
                belief[0] * table[0][s] + belief[1] * table[1][s] + belief[2] * table[2][s]
                for s in range(3)
            )
            around = corners(b0, b2, self.parts)
            values.append(
                max(p[0] * b0 + p[1] * b1 + p[2] * b2 for p in (planes[i] for i in around))
            )
        return values[1] - values[0]

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        belief = np.stack([right, lost, np.maximum(0, 1 - right - lost)], axis=-1)
        planes = self.planes[min(step + 1, STEPS)]
        values = []
        for table in self.problem.process.transitions:
            reached = belief @ table
            around, _ = surround(reached, self.parts)
            values.append(np.einsum("...cs,...s->...c", planes[around], reached).max(axis=-1))
        return np.asarray(values[1] - values[0])

    @cached_property
    def _lists(self) -> list[list[list[float]]]:
        listed: list[list[list[float]]] = self.planes.tolist()
        return listed

    @cached_property
    def _tables(self) -> list[list[list[float]]]:
        return [table.tolist() for table in self.problem.process.transitions]


def corners(right: float, mendable: float, parts: int) -> tuple[int, int, int]:
    """The points around one belief; `surround` is the same for arrays."""
    x, y = (right + mendable) * parts, right * parts
    i, j = min(int(x), parts - 1), min(int(y), parts - 1)
    start = i * (parts + 1) + j
    side = start + parts + 1 if x - i >= y - j else start + 1
    return start, side, start + parts + 2


def surround(beliefs: Floats, parts: int) -> tuple[NDArray[np.int64], Floats]:
    """Indices and weights, (..., 3) each, of the points around beliefs (..., 3).

    Each cell of the grid i, j is cut along its diagonal (Freudenthal's triangulation).
    """
    x, y = (beliefs[..., 0] + beliefs[..., 2]) * parts, beliefs[..., 0] * parts
    i = np.minimum(x.astype(np.int64), parts - 1)
    j = np.minimum(y.astype(np.int64), parts - 1)
    dx, dy = np.clip(x - i, 0, 1), np.clip(y - j, 0, 1)
    start = i * (parts + 1) + j
    side = np.where(dx >= dy, start + parts + 1, start + 1)
    high, low = np.maximum(dx, dy), np.minimum(dx, dy)
    around = np.stack([start, side, start + parts + 2], axis=-1)
    return around, np.stack([1 - high, high - low, low], axis=-1)


def plan_triangle(problem: RoutingProblem, gap: float, finest: int = FINEST) -> TrianglePlan:
    """Plan with upper - lower <= `gap` (units of the reward), or as near as `finest` parts.

    Raises:
        InvalidInput: a gap that is not above 0.
    """
    if not gap > 0:
        raise InvalidInput(f"gap {gap}: a gap between two bounds has to be above 0")
    parts = min(COARSEST, finest)
    while True:
        plan = plan_on_triangles(problem, parts)
        if plan.upper - plan.lower <= gap or parts >= finest:
            return plan
        parts = min(2 * parts, finest)


def plan_on_triangles(problem: RoutingProblem, parts: int) -> TrianglePlan:
    """One backward pass over the points of the triangle.

    Upper bound: exact at the points if the next step's were, and the plane through the
    points of a triangle within it, which is above any convex function. Lower bound: at each
    point the best action for each observation, a plane that this policy earns everywhere.
    """
    process, reward, symbols = problem.process, problem.reward, problem.symbols
    price = problem.price * process.tokens
    side = parts + 1
    i, j = np.divmod(np.arange(side * side), side)
    inside = np.flatnonzero(j <= i)
    points = np.stack([j, parts - i, i - j], axis=1)[inside] / parts
    worth = np.array([reward * process.finishing[0], reward * process.finishing[1] - price])

    # Only beliefs that an action leads to matter: for each point and action, what it
    # leads to after each observation is found once and serves all steps.
    joint = points[:, None, :] * symbols
    total = joint.sum(axis=-1)
    posterior = joint / np.maximum(total, 1e-300)[..., None]
    posterior[total <= 0] = (0.0, 1.0, 0.0)
    reached = [posterior @ table for table in process.transitions]
    places = [surround(beliefs, parts) for beliefs in reached]
    ends = joint @ worth.T
    end_upper = ends.max(axis=-1).sum(axis=-1)
    chosen = worth[(ends[..., 1] > ends[..., 0]).astype(int)]
    end_planes = (chosen * symbols).sum(axis=1)

    upper = np.zeros(side * side)
    planes = np.zeros((STEPS + 1, side * side, 3))
    upper[inside], planes[STEPS, inside] = end_upper, end_planes
    fees = np.array([0.0, price])
    for t in range(STEPS - 1, 0, -1):
        h = process.hazard[t]
        above = [
            np.einsum("pkc,pkc->pk", upper[around], weights) - fee
            for (around, weights), fee in zip(places, fees, strict=True)
        ]
        going_on = (total * np.maximum(*above)).sum(axis=1)
        best: list[tuple[Floats, Floats]] = []
        for table, beliefs, (around, _), fee in zip(
            process.transitions, reached, places, fees, strict=True
        ):
            values = np.stack(
                [(planes[t + 1, around[..., c]] * beliefs).sum(axis=-1) for c in range(3)], axis=-1
            )
            taken = np.take_along_axis(around, values.argmax(axis=-1)[..., None], axis=-1)[..., 0]
            best.append((values.max(axis=-1) - fee, (planes[t + 1] @ table.T - fee)[taken]))
        (kept, kept_planes), (paid, paid_planes) = best
        followed: NDArray[Any] = np.where((paid > kept)[..., None], paid_planes, kept_planes)
        planes[t, inside] = h * end_planes + (1 - h) * (followed * symbols).sum(axis=1)
        upper[inside] = h * end_upper + (1 - h) * going_on
    around, weights = surround(process.start, parts)
    return TrianglePlan(
        problem,
        lower=float((planes[1, around] @ process.start).max()),
        upper=float(upper[around] @ weights),
        parts=parts,
        planes=planes,
    )
