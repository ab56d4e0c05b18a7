"""The settings of a family, from the cheapest to the dearest, fine enough to meet a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trim.bank.bank import Bank
from trim.errors import InvalidInput
from trim.policies.agg import priced_agg
from trim.policies.cascade import Cascade
from trim.policies.policy import Policy
from trim.policies.pomdp import priced_pomdp
from trim.policies.priced import Priced
from trim.policies.random_mix import RandomMix
from trim.policies.router_file import fitted_to
from trim.policies.seq import priced_seq
from trim.policies.threshold import Threshold

SETTINGS = 300
"""Of a family: neighbours then differ by some thousandths of the strong tokens."""

PRICED: dict[str, Callable[[Path], Priced[Any]]] = {
    "pomdp": priced_pomdp,
    "agg": priced_agg,
    "seq": priced_seq,
}
"""Families of which a file holds a router for every price in a range."""
SCORED: dict[str, Callable[[float], Policy]] = {
    "thr": Threshold,
    "random": RandomMix,
    "cascade": Cascade,
}


@dataclass(frozen=True)
class Sweep:
    """A family and its settings.

    Attributes:
        file: of the fitted family; None where nothing is fitted.
        settings: from the one with the least strong tokens to that with the most.
        policy: makes that of a setting.
    """

    family: str
    file: Path | None
    settings: tuple[float, ...]
    policy: Callable[[float], Policy]

    def policies(self, from_dearest: bool = False) -> Iterator[tuple[float, Policy]]:
        """Settings and policies, one by one; from the dearest if so asked."""
        for setting in reversed(self.settings) if from_dearest else self.settings:
            yield setting, self.policy(setting)


def sweep_of(spec: str, bank: Bank) -> Sweep:
    """The sweep that a command-line word names: `thr`, `pomdp:FILE`.

    Raises:
        InvalidInput: an unknown family, a file that is missing, damaged or fitted to other
            scores or models than the bank's.
    """
    family, _, file = spec.partition(":")
    if family in SCORED and not file:
        return Sweep(family, None, spread(family, bank), SCORED[family])
    if family in PRICED and file:
        path = Path(file)
        router = PRICED[family](path)
        refuse_other(family, path, bank)
        count = SETTINGS if router.lowest < router.highest else 1
        prices = np.geomspace(router.highest, router.lowest, count)
        settings = tuple(float(f"{price:.4g}") for price in prices[1:-1])
        return Sweep(family, path, settings, router.at)
    known = [*SCORED, *(f"{name}:FILE" for name in PRICED)]
    raise InvalidInput(
        f"--policy {spec}: no family with a setting to choose; known: {', '.join(known)}"
    )


def spread(family: str, bank: Bank) -> tuple[float, ...]:
    """Settings between which as many scores of the bank lie; 0 is first and 1 last."""
    levels = np.linspace(0, 1, SETTINGS)
    if family == "random":
        return tuple(levels.round(4).tolist())
    if family == "cascade":
        scores = [min(trajectory.scores) for trajectory in bank.trajectories()]
    else:
        scores = [node.draft_score for problem in bank.problems for node in problem.nodes]
    inside = {float(f"{score:.6g}") for score in np.quantile(scores, levels)}
    return tuple(sorted({0.0, *inside, 1.0}))


def refuse_other(family: str, path: Path, bank: Bank) -> None:
    """Raises InvalidInput where a router was fitted to other scores or models."""
    scorer, models = fitted_to(family, path)
    if scorer not in (None, bank.identity.scorer):
        raise InvalidInput(
            f"{path}: fitted to scores {scorer!r}, and the bank's are {bank.identity.scorer!r}"
        )
    if models and models != bank.identity.models:
        raise InvalidInput(f"{path}: fitted to other models than the bank's; fit it anew")
