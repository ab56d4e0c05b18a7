"""Fitting the POMDP model to solved problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trim.errors import InvalidInput
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.observations import MIN_EXAMPLES, fit_observations
from trim.policies.pomdp.process import fit_hazard, process_from_accuracies

WRONG_BELOW = 0.35
"""Without labels, the first step with a score below this is the first error (authors' scripts)."""


@dataclass(frozen=True)
class LabelledTrajectory:
    """The kept steps 1..T of one finished solution.

    Attributes:
        scores: (T,) r_1..r_T in [0, 1].
        tokens: (T,) decoded by the author of each step.
        by_strong: (T,) whether the strong model wrote each step.
        correct: whether the final answer is right.
        right: (T,) whether each step is right; None without labels.
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
        """Index of the first wrong step; None if there is none.

        Without labels, all steps of a right solution are right. The first error of a wrong one
        is its first step with a score below 0.35, or else its lowest score.
        """
        if self.right is not None:
            return self.right.index(False) if False in self.right else None
        if self.correct:
            return None
        low = (i for i, score in enumerate(self.scores) if score < WRONG_BELOW)
        return next(low, self.scores.index(min(self.scores)))

    def examples(self) -> Iterator[tuple[int, float, float]]:
        """State, lowest earlier score and newest score at every step.

        The paper takes a few steps of each trace; here every step is an example, since a filter
        observes every step.
        """
        error, lowest = self.first_error, 1.0
        for i, score in enumerate(self.scores):
            state = 0 if error is None or i < error else 2 if i == error else 1
            yield state, lowest, score
            lowest = min(lowest, score)

    def step_outcomes(self) -> Iterator[tuple[bool, bool]]:
        """(by the strong model, right) for each step whose earlier steps are all right."""
        error = self.first_error
        for i, strong in enumerate(self.by_strong):
            yield strong, i != error
            if i == error:
                return


@dataclass(frozen=True)
class Evidence:
    """The statistics that the model is fitted to.

    Attributes:
        examples: (state 0, 1 or 2, lowest earlier score, newest score) of each step.
        step_outcomes: (by the strong model, right) of each step whose earlier steps are all right.
        lengths: number of steps of each solution.
        strong_tokens: tokens of each step of the strong model.
        recovered: whether the answer is right, for each solution with a wrong step.
    """

    examples: list[tuple[int, float, float]] = field(default_factory=list)
    step_outcomes: list[tuple[bool, bool]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    strong_tokens: list[int] = field(default_factory=list)
    recovered: list[bool] = field(default_factory=list)


def evidence_from_solutions(trajectories: Iterable[LabelledTrajectory]) -> Evidence:
    """The statistics of finished solutions."""
    evidence = Evidence()
    for trajectory in trajectories:
        evidence.examples.extend(trajectory.examples())
        evidence.step_outcomes.extend(trajectory.step_outcomes())
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
    fitted_to: Mapping[str, str] | None = None,
    belief: BeliefKind = BeliefKind.NEWEST,
) -> PomdpModel:
    """`fit_evidence` of finished solutions."""
    return fit_evidence(evidence_from_solutions(trajectories), fitted_to, belief)


def fit_evidence(
    evidence: Evidence,
    fitted_to: Mapping[str, str] | None = None,
    belief: BeliefKind = BeliefKind.NEWEST,
) -> PomdpModel:
    """Fit the model of arXiv 2601.10245.

    The next-step accuracy of a model is the share of right steps among its steps whose earlier
    steps are all right. The hazard uses all solutions, `tokens` the steps of the strong model.
    Beyond the paper, `recovery` counts right answers of solutions with a wrong step.

    Args:
        fitted_to: models and kind of score, see `PomdpModel`.

    Raises:
        InvalidInput: there are no solutions, or too few examples of a state or steps of a model.
    """
    if not evidence.lengths:
        raise InvalidInput("no solved problem to fit the model to; collect some first")
    accuracies = []
    for strong, name in enumerate(("weak", "strong")):
        right = [right for by_strong, right in evidence.step_outcomes if by_strong is bool(strong)]
        if len(right) < MIN_EXAMPLES:
            raise InvalidInput(
                f"{len(right)} steps of the {name} model after right steps, at least"
                f" {MIN_EXAMPLES} are needed; collect more traces"
            )
        accuracies.append(float(np.mean(right)))
    # A model without a mistake in this sample is not perfect: keep accuracies below 1.
    weak, strong_accuracy = (
        min(accuracy, 1 - 0.5 / len(evidence.step_outcomes)) for accuracy in accuracies
    )
    process = replace(
        process_from_accuracies(
            weak,
            strong_accuracy,
            fit_hazard(evidence.lengths),
            float(np.mean(evidence.strong_tokens)),
        ),
        # One wrong answer is added: the estimate stays below 1 for few solutions.
        recovery=sum(evidence.recovered) / (len(evidence.recovered) + 1),
    )
    observations = fit_observations(np.array(evidence.examples, dtype=np.float64).reshape(-1, 3))
    return PomdpModel(process, observations, belief, fitted_to or {})
