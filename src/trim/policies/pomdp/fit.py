"""Fitting the POMDP model to solved problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.belief import BeliefKind
from trim.policies.pomdp.first_errors import UNKNOWN, Step, WrittenSteps, find_errors
from trim.policies.pomdp.model import PomdpModel
from trim.policies.pomdp.observations import MIN_EXAMPLES, Observations, fit_observations
from trim.policies.pomdp.process import Floats, fit_hazard, process_from_accuracies

NEGLIGIBLE = 1e-6
"""Examples of less probability are left out."""


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


def written_steps(trajectories: Iterable[LabelledTrajectory]) -> WrittenSteps:
    """The steps of solutions that share none."""
    steps: list[Step] = []
    for trajectory in trajectories:
        first, last = len(steps), len(trajectory.scores) - 1
        right = trajectory.right or (UNKNOWN,) * len(trajectory.scores)
        for i, score in enumerate(trajectory.scores):
            parent = first + i - 1 if i else -1
            outcome = int(trajectory.correct) if i == last else UNKNOWN
            steps.append(Step(parent, trajectory.by_strong[i], score, outcome, int(right[i])))
    return WrittenSteps.of(steps)


@dataclass(frozen=True)
class Evidence:
    """The statistics that the model is fitted to; counts are expected ones without labels.

    Attributes:
        examples: (n, 3) state 0, 1 or 2, lowest earlier score and newest score of a step.
        weights: (n,) probability of that state, in (0, 1].
        step_counts: (2, 2) wrong and right steps of the weak and of the strong model, of those
            whose earlier steps are all right.
        recovered: right answers of solutions with a wrong step, and number of those solutions.
        lengths: number of steps of each solution.
        strong_tokens: tokens of each step of the strong model.
        source: how the states were found, see `PomdpModel`.
    """

    examples: Floats
    weights: Floats
    step_counts: Floats
    recovered: tuple[float, float]
    lengths: Sequence[int]
    strong_tokens: Sequence[int]
    source: Mapping[str, Any] = field(default_factory=dict)


def evidence_from_steps(
    steps: WrittenSteps,
    lengths: Sequence[int],
    strong_tokens: Sequence[int],
    observations: Observations | None = None,
) -> Evidence:
    """The statistics of steps, by their labels or else by EM (`find_errors`).

    Args:
        lengths, strong_tokens: as in `Evidence`.
        observations: known densities of scores, for EM.

    Raises:
        InvalidInput: labels are missing, and the outcomes are all right or all wrong.
    """
    states = steps.labelled_states()
    kept = np.ones(len(steps.parent), dtype=np.bool_)
    if states is not None:
        source: dict[str, Any] = {"from": "labels", "steps": len(states)}
    else:
        found = find_errors(steps, observations)
        states, kept = found.states, steps.is_first
        source = {"from": "outcomes", "outcomes": steps.outcomes}
        if observations is None:
            source["unseen"] = float(f"{found.model.unseen:.4g}")
    counts = [
        [states[author, 2].sum(), states[author, 0].sum()]
        for author in (~steps.by_strong, steps.by_strong)
    ]
    right, wrong = (1 - states[steps.outcome == outcome, 0] for outcome in (1, 0))
    examples, weights = weighted_examples(steps, states, kept)
    recovered = float(right.sum()), float(right.sum() + wrong.sum())
    return Evidence(examples, weights, np.array(counts), recovered, lengths, strong_tokens, source)


def weighted_examples(
    steps: WrittenSteps, states: Floats, kept: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Examples and weights as in `Evidence`.

    The paper takes a few steps of each trace; here every step is an example, since a filter
    observes every step.
    """
    step, state = np.nonzero((states > NEGLIGIBLE) & kept[:, None])
    examples = np.stack([state, steps.lowest[step], steps.score[step]], axis=-1)
    return examples.astype(np.float64), states[step, state]


def evidence_from_solutions(trajectories: Sequence[LabelledTrajectory]) -> Evidence:
    """`evidence_from_steps` of finished solutions."""
    tokens = [
        count
        for trajectory in trajectories
        for count, strong in zip(trajectory.tokens, trajectory.by_strong, strict=True)
        if strong
    ]
    lengths = [len(trajectory.scores) for trajectory in trajectories]
    return evidence_from_steps(written_steps(trajectories), lengths, tokens)


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
    observations: Observations | None = None,
) -> PomdpModel:
    """Fit the model of arXiv 2601.10245.

    The next-step accuracy of a model is the share of right steps among its steps whose earlier
    steps are all right. The hazard uses all solutions, `tokens` the steps of the strong model.
    Beyond the paper, `recovery` counts right answers of solutions with a wrong step.

    Args:
        fitted_to: models and kind of score, see `PomdpModel`.
        observations: known densities of scores; None fits them to the evidence.

    Raises:
        InvalidInput: there are no solutions, none of more than one step, no tokens of the strong
            model, or too few examples of a state or steps of a model.
    """
    if not evidence.lengths:
        raise InvalidInput("no solved problem to fit the model to; collect some first")
    if max(evidence.lengths) == 1 and observations is None:
        raise InvalidInput(
            "every solution has a single step, so no step follows an error (state S1); use"
            " solutions with their steps apart"
        )
    accuracies = []
    for name, (wrong, right) in zip(("weak", "strong"), evidence.step_counts, strict=True):
        if wrong + right < MIN_EXAMPLES:
            raise InvalidInput(
                f"{wrong + right:.3g} steps of the {name} model after right steps, at least"
                f" {MIN_EXAMPLES} are needed; collect more traces"
            )
        accuracies.append(right / (wrong + right))
    if not any(evidence.strong_tokens):
        raise InvalidInput(
            "the strong model's steps have 0 tokens, but a fit needs what a rewrite costs; record"
            " the tokens of solutions or steps"
        )
    # A model without a mistake in this sample is not perfect: keep accuracies below 1.
    highest = 1 - 0.5 / evidence.step_counts.sum()
    weak, strong = (min(float(accuracy), float(highest)) for accuracy in accuracies)
    process = replace(
        process_from_accuracies(
            weak,
            strong,
            fit_hazard(evidence.lengths),
            float(np.mean(evidence.strong_tokens)),
        ),
        # One wrong answer is added: the estimate stays below 1 for few solutions.
        recovery=evidence.recovered[0] / (evidence.recovered[1] + 1),
    )
    if observations is None:
        observations = fit_observations(evidence.examples, evidence.weights)
    return PomdpModel(process, observations, belief, fitted_to or {}, evidence.source)
