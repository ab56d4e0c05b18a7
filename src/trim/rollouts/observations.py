"""Densities of scores from labelled data: a bank with step labels, or a CSV of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trim.errors import InvalidInput
from trim.fingerprints import Seen
from trim.policies.pomdp.first_errors import WrittenSteps
from trim.policies.pomdp.observations import Observations, fit_observations, read_examples
from trim.policies.pomdp.process import Floats
from trim.rollouts.bank import Bank, read_bank
from trim.rollouts.fit import tree_steps
from trim.rollouts.identity import Identity

SCORER_ROLES = ("scorer", "joint")


@dataclass(frozen=True)
class LabelledScores:
    """Densities of scores in each state, and their origin.

    Attributes:
        source: as in `trim.policies.pomdp.model.PomdpModel`.
        identity: of the bank; None for a CSV.
        seen: fingerprints of the problems, and of those that the scorer was fitted to.
    """

    path: Path
    observations: Observations
    source: Mapping[str, Any]
    identity: Identity | None = None
    seen: Seen = frozenset()

    def differing_scorer(self, bank: Bank) -> str | None:
        """A warning if the scorers of the two banks have other names; None if they agree.

        Raises:
            InvalidInput: the kinds of score differ.
        """
        if self.identity is None:
            return None
        kind, other = self.identity.scorer, bank.identity.scorer
        if kind != other:
            raise InvalidInput(
                f"{self.path}: scores of kind {kind!r}, and those of the bank are of kind"
                f" {other!r}; use labelled scores of the bank's scorer"
            )
        for role in SCORER_ROLES:
            name, bank_name = (
                models.get(role) for models in (self.identity.models, bank.identity.models)
            )
            if name and bank_name and name != bank_name:
                return f"{self.path}: scores by {name}, and those of the bank by {bank_name}"
        return None


def read_labelled_scores(path: Path) -> LabelledScores:
    """Densities from a bank with step labels, or from a CSV (`read_examples`).

    Raises:
        InvalidInput: the file or bank is unreadable or malformed, lacks labels, or has too few
            examples of a state.
    """
    if path.suffix == ".csv":
        return LabelledScores(path, *fit_examples(path, read_examples(path)))
    bank = read_bank(path)
    steps = WrittenSteps.of(tree_steps(bank))
    states = steps.labelled_states()
    if states is None:
        raise InvalidInput(
            f"{path}: its steps have no labels; use a bank of a suite that checks steps, or import"
            " solutions with their first errors"
        )
    examples = np.stack([states.argmax(axis=1), steps.lowest, steps.score], axis=-1)
    return LabelledScores(path, *fit_examples(path, examples), bank.identity, bank.seen)


def fit_examples(path: Path, examples: Floats) -> tuple[Observations, Mapping[str, Any]]:
    """Densities and source of the examples in a file."""
    try:
        observations = fit_observations(examples)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    return observations, {"observations": str(path), "examples": len(examples)}
