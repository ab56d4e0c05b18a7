"""Fitting the model of traces to solved problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trim.errors import InvalidInput
from trim.policies.pomdp.belief import Belief
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.observations import FEWEST_EXAMPLES, fit_observations
from trim.policies.pomdp.process import hazard_of, method_process

WRONG_BELOW = 0.35
"""Score of the first wrong step where no label says which it is (the method's scripts)."""


@dataclass(frozen=True)
class LabelledTrajectory:
    """The kept steps 1..T of one finished solution.

    Attributes:
        scores: r_1..r_T in [0, 1].
        tokens: of each step, decoded by its author.
        by_strong: whether the strong model wrote each step.
        correct: whether the final answer is right.
        right: whether each step is right, where that is known; else None.
    """

    scores: tuple[float, ...]
    tokens: tuple[int, ...]
    by_strong: tuple[bool, ...]
    correct: bool
    right: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.scores), len(self.tokens), len(self.by_strong)}
        if self.right is not None:
            lengths.add(len(self.right))
        if len(lengths) != 1 or not self.scores:
            raise InvalidInput("a solution needs at least one step, each with score and tokens")
        if not all(0 <= score <= 1 for score in self.scores):
            raise InvalidInput("a solution has a score outside [0, 1]")

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step, None if there is none.

        Without labels all steps of a right solution are right, and the first wrong one of
        another is the first with a score below 0.35, or else the lowest one.
        """
        if self.right is not None:
            return self.right.index(False) if False in self.right else None
        if self.correct:
            return None
        low = (i for i, score in enumerate(self.scores) if score < WRONG_BELOW)
        return next(low, self.scores.index(min(self.scores)))

    def examples(self) -> Iterator[tuple[int, float, float]]:
        """State, lowest earlier score and newest score at every step.

        The method cuts a right trace at each quarter and a wrong one at its first error and
        once later; every step is seen by a filter, so here every step is an example.
        """
        error, lowest = self.first_error, 1.0
        for i, score in enumerate(self.scores):
            state = 0 if error is None or i < error else 2 if i == error else 1
            yield state, lowest, score
            lowest = min(lowest, score)

    def judged(self) -> Iterator[tuple[bool, bool]]:
        """By the strong model, and right, of each step after steps that are all right."""
        error = self.first_error
        for i, strong in enumerate(self.by_strong):
            yield strong, i != error
            if i == error:
                return


@dataclass(frozen=True)
class Evidence:
    """Counts to be.

    Attributes:
        examples: state (0, 1, 2), lowest earlier score and newest score of steps.
        judged: by the strong model, and right, of steps after right steps alone.
        lengths: steps of solutions.
        strong_tokens: of steps that the strong model wrote.
        recovered: of solutions with a wrong step: whether the answer is right all the same.
    """

    examples: list[tuple[int, float, float]] = field(default_factory=list)
    judged: list[tuple[bool, bool]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    strong_tokens: list[int] = field(default_factory=list)
    recovered: list[bool] = field(default_factory=list)


def evidence_of(trajectories: Iterable[LabelledTrajectory]) -> Evidence:
    evidence = Evidence()
    for trajectory in trajectories:
        evidence.examples.extend(trajectory.examples())
        evidence.judged.extend(trajectory.judged())
        evidence.lengths.append(len(trajectory.scores))
        if trajectory.first_error is not None:
            evidence.recovered.append(trajectory.correct)
        evidence.strong_tokens.extend(
            count
            for count, strong in zip(trajectory.tokens, trajectory.by_strong, strict=True)
            if strong
        )
    return evidence


def fit_pomdp(
    trajectories: Sequence[LabelledTrajectory],
    of: Mapping[str, str] | None = None,
    belief: Belief = Belief.NEWEST,
) -> PomdpModel:
    """`fit_evidence` of finished solutions."""
    return fit_evidence(evidence_of(trajectories), of, belief)


def fit_evidence(
    evidence: Evidence, of: Mapping[str, str] | None = None, belief: Belief = Belief.NEWEST
) -> PomdpModel:
    """The method's model (arXiv 2601.10245).

    A next-step accuracy is the share of right ones among the steps that a model wrote after
    right steps alone; the hazard is of all solutions; `tokens` are of the strong model's.
    Beyond the method, errors that do no harm are counted where labels tell them (`recovery`).

    Args:
        of: names of models and scorer, see `PomdpModel`.

    Raises:
        InvalidInput: no solutions; too few examples of a state, or too few steps of a model.
    """
    if not evidence.lengths:
        raise InvalidInput("there is no solved problem to fit the model to; collect some first")
    accuracies = []
    for strong, name in enumerate(("weak", "strong")):
        right = [right for by_strong, right in evidence.judged if by_strong is bool(strong)]
        if len(right) < FEWEST_EXAMPLES:
            raise InvalidInput(
                f"{len(right)} steps of the {name} model after right ones, at least"
                f" {FEWEST_EXAMPLES} are needed; collect more traces"
            )
        accuracies.append(float(np.mean(right)))
    # Of models that made no mistake here it is not believed that they never do.
    weak, strong_accuracy = (
        min(accuracy, 1 - 0.5 / len(evidence.judged)) for accuracy in accuracies
    )
    process = replace(
        method_process(
            weak,
            strong_accuracy,
            hazard_of(evidence.lengths),
            float(np.mean(evidence.strong_tokens)),
        ),
        # One more wrong answer than there was: of few solutions not all are believed in.
        recovery=sum(evidence.recovered) / (len(evidence.recovered) + 1),
    )
    observations = fit_observations(np.array(evidence.examples, dtype=np.float64).reshape(-1, 3))
    return PomdpModel(process, observations, belief, of or {})
