"""A fitted model of traces, and the file that keeps it: `pomdp.json`."""

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
from trim.policies.pomdp.belief import Belief, Filter
from trim.policies.pomdp.observations import Observations
from trim.policies.pomdp.problem import RoutingProblem
from trim.policies.pomdp.process import Floats, Process

VERSION = 1
DIGITS = 7
"""Significant digits of probabilities in the file."""

STEP_PRICES = (
    *(0.9, 0.8, 0.7, 0.64, 0.58, 0.53, 0.48, 0.44, 0.4, 0.35, 0.3, 0.25),
    *(0.18, 0.12, 0.08, 0.05, 0.03, 0.015, 0.005, 0.0015, 0.0005),
)
"""The usual sweep: right answers that rewriting a step of mean length has to be worth."""


@dataclass(frozen=True)
class PomdpModel:
    """All that the router knows of the models and the scorer.

    Attributes:
        process: how the hidden state moves, when it ends, what a step costs.
        observations: what scores say about it.
        belief: how the router comes to its belief, by default the kind that did best.
        of: names of the `weak` and `strong` model and the `scorer` it was fitted to, and
            `kind`, the kind of score (`trim.scorers.scorer.KINDS`); each may be missing.
    """

    process: Process
    observations: Observations
    belief: Belief = Belief.NEWEST
    of: Mapping[str, str] = field(default_factory=dict)

    def filter(self, kind: Belief | None = None) -> Filter:
        return Filter(self.process, self.observations, kind or self.belief)

    def problem(
        self, price: float, kind: Belief | None = None, reward: float = 1.0
    ) -> RoutingProblem:
        """What to plan for a kind of belief at `price` a token, in units of the reward."""
        newest = (kind or self.belief) is Belief.NEWEST
        table = self.observations.newest if newest else self.observations.pairs
        return RoutingProblem(self.process, table.reshape(-1, 3), price, reward)

    def prices(self) -> tuple[float, ...]:
        """lambda of the usual sweep, in right answers a token, falling."""
        return tuple(float(f"{price / self.process.tokens:.3g}") for price in STEP_PRICES)


def write_model(path: Path, model: PomdpModel, seen: Seen = frozenset()) -> None:
    """Write a model, and the problems that it was fitted to (`trim.fingerprints`).

    Raises:
        InvalidInput: the file cannot be written; an older one is then kept.
    """
    process, observations = model.process, model.observations
    record = {
        "policy": "pomdp",
        "version": VERSION,
        "of": dict(model.of),
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
        InvalidInput: unreadable, of another version, or not such a model.
    """
    record = read_record(path, "pomdp")
    if record.get("version") != VERSION:
        raise InvalidInput(
            f"{path}: version {record.get('version')!r} of this file is not known, {VERSION} is;"
            " fit it anew"
        )
    try:
        names = ("drafting", "rewriting", "redrafting", "hazard", "pairs", "newest", "edges")
        drafting, rewriting, redrafting, hazard, pairs, newest, edges = (
            np.array(record[name], dtype=np.float64) for name in names
        )
        of = {str(role): str(name) for role, name in record["of"].items()}
        process = Process(
            drafting,
            rewriting,
            redrafting,
            hazard,
            float(record["tokens"]),
            float(record.get("recovery", 0)),
        )
        observations = Observations(pairs, newest, edges)
        return PomdpModel(process, observations, Belief(record["belief"]), of)
    except (AttributeError, KeyError, TypeError, ValueError, InvalidInput) as error:
        raise wrong_content(path, "pomdp") from error
