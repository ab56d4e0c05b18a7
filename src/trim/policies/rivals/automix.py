"""AutoMix: the weak model's whole solution is verified, and escalated where that pays."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from trim.errors import InvalidInput
from trim.files import numbers, read_models, read_record, wrong_content
from trim.policies.policy import Explanation, FittedPolicy
from trim.policies.rivals.cascade import ScoreSummary, solution_verdict
from trim.scorers.scorer import KINDS
from trim.types import Action, Observation


@dataclass(frozen=True)
class VerifierTable:
    """What escalating is worth, by how the verifier finds the weak model's solution.

    Attributes:
        verdict: how step scores become the verifier's figure v in [0, 1].
        edges: rising bounds between the bins; bin i holds edges[i-1] <= v < edges[i].
        gains: for each bin, P(strong right) - P(weak right).
        costs: for each bin, tokens that the strong model decodes for a solution.
    """

    verdict: ScoreSummary
    edges: tuple[float, ...]
    gains: tuple[float, ...]
    costs: tuple[float, ...]

    def escalates(self, value: float, price: float) -> bool:
        """Whether the expected gain exceeds `price` (answers a token) times the cost."""
        gain, cost = self.worth(value)
        return gain > price * cost

    def worth(self, value: float) -> tuple[float, float]:
        """Expected gain in right answers, and cost in tokens, of escalating."""
        bin = bisect_right(self.edges, value)
        return self.gains[bin], self.costs[bin]

    def is_sound(self) -> bool:
        """Whether the numbers can be what they are said to be."""
        bins = len(self.edges) + 1
        return (
            len(self.gains) == len(self.costs) == bins
            and all(low < high for low, high in pairwise(self.edges))
            and all(-1 <= gain <= 1 for gain in self.gains)
            and all(cost >= 0 for cost in self.costs)
        )

    def prices(self) -> tuple[float, ...]:
        """Prices that tell all greedy decisions apart, rising: each escalates fewer bins."""
        worth = {g / c for g, c in zip(self.gains, self.costs, strict=True) if g > 0 and c > 0}
        levels = sorted({0.0, *worth})
        middles = (float(f"{(a + b) / 2:.4g}") for a, b in pairwise(levels))
        return tuple(dict.fromkeys(middles))


@dataclass(frozen=True)
class AutoMix(FittedPolicy):
    """Restarts with the strong model where the expected gain is worth `price` (2310.12963).

    The greedy decision on a binned verifier. Made by `read_automix` from a file that
    `trim.policies.rivals.fit` has fitted. The verifier is the weak model's own confidence.

    Attributes:
        price: lambda, right answers that a strong token must bring, from 0 up.
        scorer: the kind of score that the table was fitted to.
    """

    family: ClassVar[str] = "automix"
    restarts = True

    table: VerifierTable
    price: float
    scorer: str = "logprob"

    @property
    def name(self) -> str:
        return self.named(self.family, self.price)

    def decide(self, observation: Observation) -> Action:
        if not observation.last:
            return Action.CONTINUE
        value = solution_verdict(observation, self.table.verdict)
        return Action.RESTART if self.table.escalates(value, self.price) else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if not observation.last:
            return Explanation("it decides when the whole solution is there")
        value = solution_verdict(observation, self.table.verdict)
        gain, cost = self.table.worth(value)
        return Explanation(
            f"verdict {value:.2f}: a new solution should gain {gain:.2f} right answers, and its"
            f" {cost:.0f} tokens cost {self.price * cost:.2f}"
        )


@dataclass(frozen=True)
class AutoMixPRM(AutoMix):
    """The same with the process reward model as its verifier, or joint scores."""

    family: ClassVar[str] = "automix-prm"

    scorer: str = "prm"


def automix_record(family: str, table: VerifierTable) -> dict[str, Any]:
    """The JSON content that `read_automix` reads."""
    return {
        "policy": family,
        "verdict": str(table.verdict),
        "edges": list(table.edges),
        "gains": list(table.gains),
        "costs": list(table.costs),
    }


def read_automix(kind: type[AutoMix], path: Path, prices: tuple[float, ...] = ()) -> list[AutoMix]:
    """A policy for each price, by default for all that decide differently.

    Raises:
        InvalidInput: unreadable, fitted for another family, or not such a table.
    """
    family = kind.family
    record = read_record(path, family)
    try:
        table = VerifierTable(
            ScoreSummary(record["verdict"]),
            numbers(record["edges"]),
            numbers(record["gains"]),
            numbers(record["costs"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_content(path, family) from error
    if not table.is_sound():
        raise wrong_content(path, family)
    scorer = record.get("scorer", kind.scorer)
    if scorer not in KINDS:
        raise InvalidInput(f"{path}: fitted to scores {scorer!r}; known: {', '.join(KINDS)}")
    models = read_models(path, family, record)
    return [
        kind(table, price, scorer, models=models) for price in prices or table.prices() or (0.0,)
    ]
