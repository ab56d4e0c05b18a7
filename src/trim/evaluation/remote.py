"""Problems that are solved by other processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trim.configuration.source import ModelSource
from trim.evaluation.bill import Bill
from trim.evaluation.folder import Runnable
from trim.evaluation.problem_set import ProblemSet
from trim.policies.policy import Policy


@dataclass(frozen=True)
class EvaluationRequest:
    """What an evaluation was asked for, as on its command line.

    Attributes:
        specs: the policies.
        scorer: the kind of score; None where the lineup has none.
    """

    problem_set: ProblemSet
    specs: tuple[str, ...]
    seed: int
    scorer: str | None
    exact: bool
    max_strong_tokens: int | None


class RemoteExecutor(Protocol):
    """Other processes."""

    def evaluation(
        self,
        lineup: ModelSource,
        asked: EvaluationRequest,
        policies: Sequence[Policy],
        bill: Bill,
        may_begin: Callable[[], bool],
    ) -> Runnable:
        """An evaluation whose problems they solve."""
        ...
