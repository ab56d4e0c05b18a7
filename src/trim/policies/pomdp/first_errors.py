"""Hidden first errors of solutions, found by EM from scores and answers.

The model of a solution: each step of the weak (strong) model after right steps is right with
probability p_w (p_s). Its score is drawn from the density of its state: S0 all steps so far are
right, S2 it is the first wrong one, S1 an earlier one is wrong. The answer is right if all steps
are, and with probability `recovery` otherwise. The scorer does not see every first error: after
an unseen one, scores are those of S0, and the answer is wrong. Solutions of a tree share steps: a
step is right or wrong in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trim.errors import InvalidInput
from trim.policies.pomdp.belief import positive
from trim.policies.pomdp.observations import Observations
from trim.policies.pomdp.process import Floats

UNKNOWN = -1
"""In place of an outcome or label that is not known."""

BINS = 40
"""Bins of equal numbers of scores."""
SCORE_PRIOR, CHANCE_PRIOR = 0.5, 0.5
"""Examples added to every bin of a density, and to each side of a probability."""
TOLERANCE, MAX_ITERATIONS = 1e-6, 500
"""EM ends once an iteration gains less, in nats an outcome."""
POWERS = (1.0, 4.0)
"""Exponents of the densities at the start: of the rank of a score in S0, of its complement."""


class Chances(NamedTuple):
    """The other parameters at the start, as in `ErrorModel`."""

    accuracies: tuple[float, float]
    recovery: float
    unseen: float


MANY_ERRORS = Chances((0.8, 0.9), 0.1, 0.1)
FEW_ERRORS = Chances((0.95, 0.98), 0.02, 0.02)
"""From many errors alone, EM may end where half of them are harmless and a better fit has few."""
NARROWEST = 1e-4
"""Width of a bin for its density: a score that is rounded to four digits is an interval."""


class Step(NamedTuple):
    """A written step of a solution or of several that begin alike.

    Attributes:
        parent: index of the step before it; -1 for the first one.
        by_strong: whether the strong model wrote it.
        score: in [0, 1].
        outcome: whether the answer is right (1) or wrong (0), if a solution ends here.
        right: its label, 1 or 0.
        twin: index of the weak model's step with the same text in its place; -1 for none. The two
            are right or wrong together, and the score of the first counts.
    """

    parent: int
    by_strong: bool
    score: float
    outcome: int = UNKNOWN
    right: int = UNKNOWN
    twin: int = -1


@dataclass(frozen=True)
class WrittenSteps:
    """The steps of recorded solutions as arrays (n,), the fields of `Step`; parents come first."""

    parent: NDArray[np.int64]
    by_strong: NDArray[np.bool_]
    score: Floats
    outcome: NDArray[np.int64]
    right: NDArray[np.int64]
    twin: NDArray[np.int64]

    @staticmethod
    def of(steps: Iterable[Step]) -> WrittenSteps:
        columns = list(zip(*steps, strict=True)) or [()] * len(Step._fields)
        parent, by_strong, score, outcome, right, twin = columns
        return WrittenSteps(
            np.array(parent, dtype=np.int64),
            np.array(by_strong, dtype=np.bool_),
            np.array(score, dtype=np.float64),
            np.array(outcome, dtype=np.int64),
            np.array(right, dtype=np.int64),
            np.array(twin, dtype=np.int64),
        )

    @property
    def outcomes(self) -> int:
        """Number of solutions with a known outcome."""
        return int((self.outcome != UNKNOWN).sum())

    @cached_property
    def is_first(self) -> NDArray[np.bool_]:
        """(n,) whether a step has no earlier twin: one of each text."""
        return self.twin < 0

    @cached_property
    def text(self) -> NDArray[np.int64]:
        """(n,) index of the step itself, or of its twin."""
        return np.where(self.is_first, np.arange(len(self.twin)), self.twin)

    @cached_property
    def levels(self) -> list[NDArray[np.int64]]:
        """Indices of the texts at each depth, from the first steps on."""
        depth = np.zeros(len(self.parent), dtype=np.int64)
        for i, parent in enumerate(self.parent.tolist()):
            depth[i] = depth[parent] + 1 if parent >= 0 else 0
        texts = np.flatnonzero(self.is_first)
        return [texts[depth[texts] == d] for d in range(int(depth.max(initial=-1)) + 1)]

    @cached_property
    def lowest(self) -> Floats:
        """(n,) the lowest earlier score of each step, 1 for a first one."""
        lowest = np.ones(len(self.parent))
        for i, parent in enumerate(self.parent.tolist()):
            if parent >= 0:
                lowest[i] = min(lowest[parent], self.score[parent])
        return lowest

    def labelled_states(self) -> Floats | None:
        """(n, 3) indicators of S0, S1, S2 by the labels; None if a label is missing.

        Steps after a wrong one need none.
        """
        states = np.zeros((len(self.parent), 3))
        for i, parent in enumerate(self.parent.tolist()):
            after_right = parent < 0 or bool(states[parent, 0])
            if after_right and self.right[i] == UNKNOWN:
                return None
            states[i, (0 if self.right[i] else 2) if after_right else 1] = 1
        return states


@dataclass(frozen=True)
class ErrorModel:
    """Parameters of the model of solutions.

    Attributes:
        accuracies: (2,) p_w and p_s, above 0 and below 1.
        recovery: P(answer right | a kept step is wrong, and the scorer sees it), as those.
        unseen: P(the scorer does not see an error), at least 0 and below 1.
        table: (m, 3) P(score in bin | S0), and that in S1 and S2 if the error is seen.
        edges: (m - 1,) between the bins, as in `Observations`.
    """

    accuracies: Floats
    recovery: float
    unseen: float
    table: Floats
    edges: Floats

    def bins(self, score: Floats) -> NDArray[np.int64]:
        return np.searchsorted(self.edges, score, side="right")

    @property
    def density(self) -> ErrorModel:
        """The same model with densities on [0, 1] in place of probabilities of bins."""
        widths = np.diff(np.concatenate([[0.0], self.edges, [1.0]]))
        return replace(self, table=self.table / np.maximum(widths, NARROWEST)[:, None])


@dataclass(frozen=True)
class Posterior:
    """The hidden states of steps, given scores and outcomes.

    Attributes:
        log_likelihood: of scores and outcomes, in nats, of all solutions together.
        cases: (n, 5) P(S0), P(S1) and P(S2) if the error is seen, and both if it is not.
    """

    log_likelihood: float
    cases: Floats

    @property
    def states(self) -> Floats:
        """(n, 3) P(S0), P(S1), P(S2) of each step."""
        right, *seen_and_unseen = self.cases.T
        lost, error, unseen_lost, unseen_error = seen_and_unseen
        return np.stack([right, lost + unseen_lost, error + unseen_error], axis=-1)


def infer(steps: WrittenSteps, model: ErrorModel) -> Posterior:
    """The exact posterior of the first errors, by one pass up the trees and one down."""
    count, author = len(steps.parent), steps.by_strong.astype(np.int64)
    scores = np.log(model.table)[model.bins(steps.score)] * steps.is_first[:, None]
    accuracy, mistake = np.log(model.accuracies)[author], np.log1p(-model.accuracies)[author]
    right, lost, error, unseen = (
        np.bincount(steps.text, terms, minlength=count)
        for terms in (
            accuracy + scores[:, 0],
            scores[:, 1],
            mistake + scores[:, 2],
            mistake + scores[:, 0],
        )
    )
    unseen_lost = scores[:, 0]
    with np.errstate(divide="ignore"):
        error, unseen = error + np.log1p(-model.unseen), unseen + np.log(model.unseen)
    # Log-likelihood of what follows a step: all steps up to it are right, a seen error, an unseen.
    ends = [-np.inf, 0.0], [np.log1p(-model.recovery), np.log(model.recovery)], [0.0, -np.inf]
    known = steps.outcome != UNKNOWN
    after_right, after_error, after_unseen = (
        np.where(known, np.array(end)[steps.outcome], 0.0) for end in ends
    )
    total = np.zeros(count)
    for level in reversed(steps.levels):
        errors = np.logaddexp(
            error[level] + after_error[level], unseen[level] + after_unseen[level]
        )
        total[level] = np.logaddexp(right[level] + after_right[level], errors)
        inner = level[steps.parent[level] >= 0]
        parent = steps.parent[inner]
        np.add.at(after_right, parent, total[inner])
        np.add.at(after_error, parent, lost[inner] + after_error[inner])
        np.add.at(after_unseen, parent, unseen_lost[inner] + after_unseen[inner])
    shares = np.exp(
        np.stack([right + after_right, error + after_error, unseen + after_unseen]) - total
    )
    cases = np.zeros((count, 5))
    for level in steps.levels:
        parent = steps.parent[level]
        before = cases[parent] * (parent >= 0)[:, None]
        all_right = np.where(parent >= 0, before[:, 0], 1.0)
        still_right, new_error, new_unseen = all_right * shares[:, level]
        cases[level, 0], cases[level, 2], cases[level, 4] = still_right, new_error, new_unseen
        cases[level, 1], cases[level, 3] = before[:, 1:3].sum(axis=1), before[:, 3:].sum(axis=1)
    first = steps.levels[0] if steps.levels else np.zeros(0, dtype=np.int64)
    return Posterior(float(total[first].sum()), cases[steps.text])


@dataclass(frozen=True)
class FoundErrors:
    """First errors found by EM.

    Attributes:
        model: the parameters.
        states: (n, 3) as in `Posterior`.
        history: the log-posterior density of the parameters, up to a constant, in nats, before
            each iteration and after the last one; it never falls.
    """

    model: ErrorModel
    states: Floats
    history: tuple[float, ...]


def find_errors(steps: WrittenSteps, observations: Observations | None = None) -> FoundErrors:
    """Fit the hidden first errors to scores and outcomes by EM (Dempster et al., 1977).

    The densities are histograms in bins of equal numbers of scores: the fit depends on the ranks
    of scores alone. Of several starts, the one that ends highest counts.

    Args:
        observations: known densities of scores in S0, S1 and S2, those of unseen errors included;
            None fits them as well.

    Raises:
        InvalidInput: the outcomes are all right or all wrong, or there are none.
    """
    right, known = int((steps.outcome == 1).sum()), steps.outcomes
    if right in (0, known):
        found = "no answer is" if not right else f"all {known} answers are"
        raise InvalidInput(
            f"{found} right; without labels of steps, first errors are found from right and wrong"
            " answers: add problems that the weak model fails and problems that it solves"
        )
    if observations is not None:
        table, edges = positive(observations.newest), observations.newest_edges
        chances = MANY_ERRORS._replace(unseen=0.0)
        return maximize(steps, start_with(table, edges, chances), fit_scores=False)
    edges = edges_of(steps.score[steps.is_first])
    runs = [
        maximize(steps, start_with(table, edges, chances), fit_scores=True)
        for table in start_tables(len(edges) + 1)
        for chances in (MANY_ERRORS, FEW_ERRORS)
    ]
    return max(runs, key=lambda run: run.history[-1])


def edges_of(scores: Floats) -> Floats:
    """Edges of at most `BINS` bins of equal numbers of scores, as in `Observations`."""
    ranks = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(scores, ranks, method="higher"))
    return np.asarray(edges[edges > scores.min()])


def start_tables(bins: int) -> Iterator[Floats]:
    """Densities that rise with the rank of a score in S0, and fall in S1 and in S2."""
    rank = (np.arange(bins) + 0.5) / bins
    for power in POWERS:
        table = np.stack([rank**power, (1 - rank) ** power, (1 - rank) ** power], axis=-1) + 0.1
        yield table / table.sum(axis=0)


def start_with(table: Floats, edges: Floats, chances: Chances = MANY_ERRORS) -> ErrorModel:
    return ErrorModel(np.array(chances.accuracies), chances.recovery, chances.unseen, table, edges)


def maximize(steps: WrittenSteps, model: ErrorModel, fit_scores: bool) -> FoundErrors:
    """EM from a start.

    Args:
        fit_scores: whether to fit the densities and the share of unseen errors.
    """
    history: list[float] = []
    while True:
        posterior = infer(steps, model)
        history.append(posterior.log_likelihood + log_prior(model, fit_scores))
        converged = len(history) > 1 and history[-1] - history[-2] < TOLERANCE * steps.outcomes
        if converged or len(history) > MAX_ITERATIONS:
            return FoundErrors(model, posterior.states, tuple(history))
        model = update(steps, posterior.cases, model, fit_scores)


def update(steps: WrittenSteps, cases: Floats, model: ErrorModel, fit_scores: bool) -> ErrorModel:
    """The M-step: expected counts, with the prior's examples added."""
    right, lost, error, unseen_lost, unseen_error = cases.T
    accuracies = [
        chance(right[author].sum(), (error + unseen_error)[author].sum())
        for author in (~steps.by_strong, steps.by_strong)
    ]
    harmless, harmful = ((lost + error)[steps.outcome == outcome].sum() for outcome in (1, 0))
    fitted = replace(model, accuracies=np.array(accuracies), recovery=chance(harmless, harmful))
    if not fit_scores:
        return fitted
    bins, first = model.bins(steps.score), steps.is_first
    counts = [
        np.bincount(bins[first], weights[first], minlength=len(model.table))
        for weights in (right + unseen_lost + unseen_error, lost, error)
    ]
    table = np.stack(counts, axis=-1) + SCORE_PRIOR
    return replace(
        fitted,
        unseen=chance(unseen_error[first].sum(), error[first].sum()),
        table=np.asarray(table / table.sum(axis=0)),
    )


def chance(yes: float, no: float) -> float:
    """A probability by its posterior mode under a Beta prior."""
    return float((yes + CHANCE_PRIOR) / (yes + no + 2 * CHANCE_PRIOR))


def log_prior(model: ErrorModel, fit_scores: bool) -> float:
    chances = np.array([*model.accuracies, model.recovery, *([model.unseen] * fit_scores)])
    prior = CHANCE_PRIOR * (np.log(chances) + np.log1p(-chances)).sum()
    return float(prior + (SCORE_PRIOR * np.log(model.table).sum() if fit_scores else 0.0))


def log_density(steps: WrittenSteps, model: ErrorModel) -> float:
    """Log-density of scores in [0, 1] and outcomes, in nats."""
    return infer(steps, model.density).log_likelihood
