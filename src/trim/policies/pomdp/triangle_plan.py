"""The planner for any transition tables, on a triangulation of the belief simplex.

Slower than `line_plan` and independent of it; if both apply, they must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.process import STEPS, Floats, RoutingProblem

COARSEST, FINEST = 8, 64
"""Subdivisions of an edge; their number doubles until the gap is small enough."""


@dataclass(frozen=True)
class TrianglePlan:
    """Bounds on the value of every belief (`Plan`).

    Attributes:
        lower, upper: bounds on the value before the first observation.
        parts: M. Grid points are the beliefs (j, M - i, i - j) / M, 0 <= j <= i <= M, at index
            i * (M + 1) + j.
        planes: (31, points, 3). At [t], the lower bound on the value before the observation at
            step t is the largest plane @ belief over the three grid points of the belief's
            triangle. Each plane is the value of some policy. [0] is unused.
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
            vertices = enclosing_triangle(b0, b2, self.parts)
            values.append(
                max(p[0] * b0 + p[1] * b1 + p[2] * b2 for p in (planes[i] for i in vertices))
            )
        return values[1] - values[0]

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        belief = np.stack([right, lost, np.maximum(0, 1 - right - lost)], axis=-1)
        planes = self.planes[min(step + 1, STEPS)]
        values = []
        for table in self.problem.process.transitions:
            reached = belief @ table
            vertices, _ = barycentric(reached, self.parts)
            values.append(np.einsum("...cs,...s->...c", planes[vertices], reached).max(axis=-1))
        return np.asarray(values[1] - values[0])

    @cached_property
    def _lists(self) -> list[list[list[float]]]:
        listed: list[list[list[float]]] = self.planes.tolist()
        return listed

    @cached_property
    def _tables(self) -> list[list[list[float]]]:
        return [table.tolist() for table in self.problem.process.transitions]


def enclosing_triangle(right: float, repairable: float, parts: int) -> tuple[int, int, int]:
    """Indices of the grid points of one belief's triangle; `barycentric` works on arrays."""
    x, y = (right + repairable) * parts, right * parts
    i, j = min(int(x), parts - 1), min(int(y), parts - 1)
    start = i * (parts + 1) + j
    side = start + parts + 1 if x - i >= y - j else start + 1
    return start, side, start + parts + 2


def barycentric(beliefs: Floats, parts: int) -> tuple[NDArray[np.int64], Floats]:
    """Grid points and barycentric coordinates, (..., 3) each, of beliefs (..., 3).

    Each cell of the grid i, j is cut along its diagonal (Freudenthal triangulation).
    """
    x, y = (beliefs[..., 0] + beliefs[..., 2]) * parts, beliefs[..., 0] * parts
    i = np.minimum(x.astype(np.int64), parts - 1)
    j = np.minimum(y.astype(np.int64), parts - 1)
    dx, dy = np.clip(x - i, 0, 1), np.clip(y - j, 0, 1)
    start = i * (parts + 1) + j
    side = np.where(dx >= dy, start + parts + 1, start + 1)
    high, low = np.maximum(dx, dy), np.minimum(dx, dy)
    vertices = np.stack([start, side, start + parts + 2], axis=-1)
    return vertices, np.stack([1 - high, high - low, low], axis=-1)


def plan_triangle(problem: RoutingProblem, gap: float, finest: int = FINEST) -> TrianglePlan:
    """Plan with upper - lower <= `gap` (units of the reward), using at most `finest` parts.

    Raises:
        InvalidInput: the gap is not above 0.
    """
    if not gap > 0:
        raise InvalidInput(f"gap {gap}: must be above 0")
    parts = min(COARSEST, finest)
    while True:
        plan = plan_on_triangles(problem, parts)
        if plan.upper - plan.lower <= gap or parts >= finest:
            return plan
        parts = min(2 * parts, finest)


def plan_on_triangles(problem: RoutingProblem, parts: int) -> TrianglePlan:
    """One backward pass over the grid points of the belief simplex.

    Upper bound: backed up at the grid points, and interpolated linearly on each triangle, which
    lies above any convex function. Lower bound: the best action at a grid point for each
    observation is a policy, whose value is a plane.
    """
    process, reward, observation_model = problem.process, problem.reward, problem.observation_model
    price = problem.price * process.tokens
    side = parts + 1
    i, j = np.divmod(np.arange(side * side), side)
    inside = np.flatnonzero(j <= i)
    points = np.stack([j, parts - i, i - j], axis=1)[inside] / parts
    final_values = np.array(
        [reward * process.final_accuracy[0], reward * process.final_accuracy[1] - price]
    )

    # Posteriors and successors do not depend on the step: computed once for all steps.
    joint = points[:, None, :] * observation_model
    total = joint.sum(axis=-1)
    posterior = joint / np.maximum(total, 1e-300)[..., None]
    posterior[total <= 0] = (0.0, 1.0, 0.0)
    reached = [posterior @ table for table in process.transitions]
    located = [barycentric(beliefs, parts) for beliefs in reached]
    final_q = joint @ final_values.T
    final_upper = final_q.max(axis=-1).sum(axis=-1)
    chosen = final_values[(final_q[..., 1] > final_q[..., 0]).astype(int)]
    final_planes = (chosen * observation_model).sum(axis=1)

    upper = np.zeros(side * side)
    planes = np.zeros((STEPS + 1, side * side, 3))
    upper[inside], planes[STEPS, inside] = final_upper, final_planes
    fees = np.array([0.0, price])
    for t in range(STEPS - 1, 0, -1):
        h = process.hazard[t]
        upper_values = [
            np.einsum("pkc,pkc->pk", upper[vertices], weights) - fee
            for (vertices, weights), fee in zip(located, fees, strict=True)
        ]
        continued = (total * np.maximum(*upper_values)).sum(axis=1)
        best: list[tuple[Floats, Floats]] = []
        for table, beliefs, (vertices, _), fee in zip(
            process.transitions, reached, located, fees, strict=True
        ):
            values = np.stack(
                [(planes[t + 1, vertices[..., c]] * beliefs).sum(axis=-1) for c in range(3)],
                axis=-1,
            )
            taken = np.take_along_axis(vertices, values.argmax(axis=-1)[..., None], axis=-1)[..., 0]
            best.append((values.max(axis=-1) - fee, (planes[t + 1] @ table.T - fee)[taken]))
        (kept, kept_planes), (rewritten, rewritten_planes) = best
        followed: NDArray[Any] = np.where(
            (rewritten > kept)[..., None], rewritten_planes, kept_planes
        )
        planes[t, inside] = h * final_planes + (1 - h) * (followed * observation_model).sum(axis=1)
        upper[inside] = h * final_upper + (1 - h) * continued
    vertices, weights = barycentric(process.initial_belief, parts)
    return TrianglePlan(
        problem,
        lower=float((planes[1, vertices] @ process.initial_belief).max()),
        upper=float(upper[vertices] @ weights),
        parts=parts,
        planes=planes,
    )
