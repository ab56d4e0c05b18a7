"""One call for both planners."""

from __future__ import annotations

from trim.policies.pomdp.line_plan import plan_lines
from trim.policies.pomdp.problem import Plan, RoutingProblem
from trim.policies.pomdp.triangle_plan import plan_triangle

USUAL_GAP = 1e-3
"""Share of the reward within which a router is planned."""


def make_plan(problem: RoutingProblem, gap: float | None = None) -> Plan:
    """Plan all steps, beliefs and token counts, by the method that suits the table.

    Args:
        gap: wanted between the bounds, in units of the reward; a thousandth of it without
            one. A plan of tables that are not paired may stay wider.
    """
    wanted = USUAL_GAP * problem.reward if gap is None else gap
    if problem.process.paired:
        return plan_lines(problem, wanted)
    return plan_triangle(problem, wanted)
