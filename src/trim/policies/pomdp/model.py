"""The fitted POMDP model and its file, `pomdp.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trim.errors import InvalidInput
from trim.files import read_record, write_atomically, writing, wrong_content
from trim.fingerprints import Seen, seen_field
from trim.policies.pomdp.belief import BeliefFilter, BeliefKind
from trim.policies.pomdp.observations import Observations
from trim.policies.pomdp.process import Floats, Process, RoutingProblem

VERSION = 1
DIGITS = 7
"""Significant digits of the observation model in the file."""

STEP_PRICES = (
    *(0.9, 0.8, 0.7, 0.64, 0.58, 0.53, 0.48, 0.44, 0.4, 0.35, 0.3, 0.25),
    *(0.18, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005, 0.0015, 0.0005),
)
"""The default sweep: cost of rewriting a step of mean length, in right answers."""


@dataclass(frozen=True)
class PomdpModel:
    """The POMDP router's model of a weak model, a strong model and a scorer.

    Attributes:
        process: transitions of the hidden state, hazard of ending, tokens of a step.
        observations: P(score | state).
        belief: the default way to compute beliefs.
        fitted_to: sha256 of the `weak` and `strong` model and the `scorer`, and `kind`, the kind
            of score (`trim.scorers.scorer.KINDS`); each may be missing.
        source: how the model was fitted, empty if not recorded: `from`, which is `labels` or
            `outcomes` (`trim.policies.pomdp.first_errors`), with the number of `steps` or
            `outcomes`; after `outcomes` the share of errors `unseen` by the scorer and the
            `log_likelihood` of scores and outcomes in nats an outcome, of each half of the
            problems by a fit to the other half. Of densities from elsewhere the file,
            `observations`, and the number of `examples`.
    """

    process: Process
    observations: Observations
    belief: BeliefKind = BeliefKind.NEWEST
    fitted_to: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def filter(self, kind: BeliefKind | None = None) -> BeliefFilter:
        return BeliefFilter(self.process, self.observations, kind or self.belief)

    def problem(
        self, price: float, kind: BeliefKind | None = None, reward: float = 1.0
    ) -> RoutingProblem:
        """The planning problem at `price` per token, in units of the reward."""
        newest = (kind or self.belief) is BeliefKind.NEWEST
        table = self.observations.newest if newest else self.observations.pairs
        return RoutingProblem(self.process, table.reshape(-1, 3), price, reward)

    def prices(self) -> tuple[float, ...]:
        """lambda of the default sweep, in right answers per token, falling."""
        return tuple(float(f"{price / self.process.tokens:.3g}") for price in STEP_PRICES)


def write_model(path: Path, model: PomdpModel, seen: Seen = frozenset()) -> None:
    """Write a model and the fingerprints of the problems that it was fitted to.

    Raises:
        InvalidInput: the file cannot be written; an older file is kept.
    """
    process, observations = model.process, model.observations
    record = {
        "policy": "pomdp",
        "version": VERSION,
        "of": dict(model.fitted_to),
        "belief": str(model.belief),
        "drafting": process.drafting.tolist(),
        "rewriting": process.rewriting.tolist(),
        "redrafting": process.redrafting.tolist(),
        "hazard": process.hazard.tolist(),
        "tokens": process.tokens,
        "recovery": process.recovery,
        "pairs": rounded(observations.pairs),
        "newest": rounded(observations.newest),
        "edges": observations.newest_edges.tolist(),
        **({"source": dict(model.source)} if model.source else {}),
        **seen_field(seen),
    }
    with writing(path):
        write_atomically(path, json.dumps(record) + "\n")


def rounded(table: Floats) -> Any:
    flat = [float(f"{value:.{DIGITS}g}") for value in table.ravel().tolist()]
    return np.reshape(flat, table.shape).tolist()


def read_model(path: Path) -> PomdpModel:
    """The inverse of `write_model`.

    Raises:
        InvalidInput: the file is unreadable, malformed, or of another version.
    """
    record = read_record(path, "pomdp")
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r}, this program reads {VERSION}:"
            " run `trim fit` again"
        )
    try:
        names = ("drafting", "rewriting", "redrafting", "hazard", "pairs", "newest", "edges")
        drafting, rewriting, redrafting, hazard, pairs, newest, edges = (
            np.array(record[name], dtype=np.float64) for name in names
        )
        fitted_to = {str(role): str(name) for role, name in record["of"].items()}
        process = Process(
            drafting,
            rewriting,
            redrafting,
            hazard,
            float(record["tokens"]),
            float(record.get("recovery", 0)),
        )
        observations = Observations(pairs, newest, edges)
        source = dict(record.get("source", {}))
        return PomdpModel(process, observations, BeliefKind(record["belief"]), fitted_to, source)
    except (
        *(AttributeError, KeyError, TypeError, ValueError, OverflowError),
        InvalidInput,
    ) as error:
        raise wrong_content(path, "pomdp") from error
