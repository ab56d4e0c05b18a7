"""A problem as a policy solved it, for policies that cannot be replayed from whole steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trim.policies.calibrated import CalibratedPolicy, fitted_sha256
from trim.policies.policy import Policy
from trim.policies.registry import fitted_file
from trim.rollouts.replay import Replayed
from trim.types import Action, Trace, Usage


@dataclass(frozen=True)
class RoutedSolution:
    """The outcome and cost of one policy on one problem.

    Attributes:
        policy: its name.
        file: sha256 of its fitted file (`fitted_sha256`); None without one.
        max_strong_tokens: the limit of the solution; None for no limit.
        scores: of the drafts, in [0, 1]; empty for a policy that needs none.
        actions, denied: what was done about each scored draft, and whether the limit overruled the
            policy's decision.
        correct: whether the answer is right.
        usage: tokens by role (`trim.types.Trace`); cached ones counted by
            `trim.evaluation.cold`.
    """

    problem_id: str
    policy: str
    file: str | None
    max_strong_tokens: int | None
    scores: tuple[float, ...]
    actions: tuple[Action, ...]
    denied: tuple[bool, ...]
    correct: bool
    usage: Mapping[str, Usage]

    @staticmethod
    def of(trace: Trace, file: str | None, max_strong_tokens: int | None) -> RoutedSolution:
        """The outcome of a graded trace."""
        steps = [step for step in (*trace.abandoned, *trace.steps) if step.score is not None]
        return RoutedSolution(
            problem_id=trace.problem_id or "",
            policy=trace.policy,
            file=file,
            max_strong_tokens=max_strong_tokens,
            scores=tuple(step.score for step in steps if step.score is not None),
            actions=tuple(step.action for step in steps),
            denied=tuple(step.denied for step in steps),
            correct=bool(trace.correct),
            usage=trace.usage,
        )

    @property
    def strong_tokens(self) -> int:
        """C(q; pi): tokens that the strong model decoded."""
        return self.usage["strong"].tokens

    @property
    def replayed(self) -> Replayed:
        """The solution as a complete replay."""
        return Replayed(
            self.scores, self.actions, self.denied, self.correct, True, dict(self.usage)
        )

    def holds_under(self, max_strong_tokens: int | None) -> bool:
        """Whether the policy gives this solution under a limit, too.

        It does if it was recorded under that limit, or neither limit was reached.
        """
        limits = (max_strong_tokens, self.max_strong_tokens)
        lowest = min((limit for limit in limits if limit is not None), default=math.inf)
        return max_strong_tokens == self.max_strong_tokens or self.strong_tokens < lowest


def is_replayable(policy: Policy) -> bool:
    """Whether a policy keeps or rewrites whole steps only, as a bank has them."""
    return not policy.needs_spans


def is_recordable(policy: Policy) -> bool:
    """Whether `trim collect` records the solutions of a policy."""
    return not is_replayable(policy) and not isinstance(policy, CalibratedPolicy)


def file_of(spec: str) -> str | None:
    """sha256 of the fitted file that a command-line word names; None without one."""
    fitted = fitted_file(spec)
    return fitted_sha256(*fitted) if fitted else None
