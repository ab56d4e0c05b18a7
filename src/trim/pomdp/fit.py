"""Fitting the model of traces to solved problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trim.errors import InvalidInput
from trim.pomdp.belief import Belief
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
    """The method's model (arXiv 2601.10245) of the solutions in a bank.

    A next-step accuracy is the share of right ones among the steps that a model wrote after
    right steps alone; the hazard is of all solutions; `tokens` are of the strong model's.

    Args:
        of: names of models and scorer, see `PomdpModel`.

    Raises:
        InvalidInput: no solutions; too few examples of a state, or too few steps of a model.
    """
    if not trajectories:
        raise InvalidInput("there is no solved problem to fit the model to")
    examples = np.array([row for trajectory in trajectories for row in trajectory.examples()])
    judged = np.array([step for trajectory in trajectories for step in trajectory.judged()])
    accuracies = []
    for strong, name in enumerate(("weak", "strong")):
        right = judged[judged[:, 0] == bool(strong), 1]
        if len(right) < FEWEST_EXAMPLES:
            raise InvalidInput(
                f"{len(right)} steps of the {name} model after right ones, at least"
                f" {FEWEST_EXAMPLES} are needed; collect more traces"
            )
        accuracies.append(float(right.mean()))
    tokens = [
        count
        for trajectory in trajectories
        for count, strong in zip(trajectory.tokens, trajectory.by_strong, strict=True)
        if strong
    ]
    hazard = hazard_of([len(trajectory.scores) for trajectory in trajectories])
    process = method_process(accuracies[0], accuracies[1], hazard, float(np.mean(tokens)))
    return PomdpModel(process, fit_observations(examples), belief, of or {})
