"""The settings of a family, from the cheapest to the dearest, fine enough to meet a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trim.bank.bank import Bank
from trim.errors import InvalidInput
from trim.policies.cascade import Cascade
from trim.policies.policy import Policy
from trim.policies.random_mix import RandomMix
from trim.policies.registry import PRICED
from trim.policies.router_file import fitted_to
from trim.policies.threshold import Threshold

SETTINGS = 300
"""Of a family: neighbours then differ by some thousandths of the strong tokens."""

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
        return Sweep(family, path, between(router.lowest, router.highest), router.at)
    known = [*SCORED, *(f"{name}:FILE" for name in PRICED)]
    raise InvalidInput(
        f"--policy {spec}: no family with a setting to choose; known: {', '.join(known)}"
    )


def between(lowest: float, highest: float) -> tuple[float, ...]:
    """Prices within a range, evenly by ratio, falling; the only one where there is one."""
    if lowest == highest:
        return (lowest,)
    # Rounded, an end might leave the range.
    inner = np.geomspace(highest, lowest, SETTINGS)[1:-1]
    return tuple(float(f"{price:.4g}") for price in inner)


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
