"""Fitting the model of traces to solved problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trim.errors import InvalidInput
from trim.pomdp.belief import Belief
from trim.pomdp.evidence import Evidence, evidence_of
from trim.pomdp.hazard import hazard_of
from trim.pomdp.model import PomdpModel
from trim.pomdp.observations import FEWEST_EXAMPLES, fit_observations
from trim.pomdp.process import method_process
from trim.pomdp.trajectory import Trajectory


def fit_pomdp(
    trajectories: Sequence[Trajectory],
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
