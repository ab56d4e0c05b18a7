"""Plans of the routing POMDP, by the planner that suits its transition table."""

from __future__ import annotations

from typing import Protocol

from trim.policies.pomdp.line_plan import plan_lines
from trim.policies.pomdp.process import Floats, RoutingProblem
from trim.policies.pomdp.triangle_plan import plan_triangle

DEFAULT_GAP = 1e-3
"""Gap between the bounds of a plan, as a share of the reward."""


class Plan(Protocol):
    """A policy with bounds: it earns at least `lower`, and no policy earns more than `upper`.

    Both are values before the first observation at step 1, in units of the reward.
    """

    @property
    def problem(self) -> RoutingProblem: ...
    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...

    def gain(self, step: int, right: float, lost: float) -> float:
        """Q(regenerate) - Q(continue) before the price of this step's tokens.

        A one-step lookahead over the lower bound. The policy that regenerates if this exceeds
        price * tokens earns at least `lower`, whatever the tokens of this step.

        Args:
            step: t of the draft, not the last one.
            right, lost: P(S0) and P(S1) after its observation.
        """

    def gains(self, step: int, right: Floats, lost: Floats) -> Floats:
        """`gain` for arrays of beliefs of equal shape."""


def make_plan(problem: RoutingProblem, gap: float | None = None) -> Plan:
    """Plan all steps, beliefs and token counts in one backward pass.

    Args:
        gap: target for upper - lower, in units of the reward; by default `DEFAULT_GAP` of it.
            A plan for tables without paired rows may stop at a larger gap.
    """
    target = DEFAULT_GAP * problem.reward if gap is None else gap
    if problem.process.has_paired_rows:
        return plan_lines(problem, target)
    return plan_triangle(problem, target)
