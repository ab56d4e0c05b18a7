"""AutoMix: verify the weak model's solution, and escalate where that pays."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from trim.errors import InvalidInput
from trim.files import numbers, read_models, read_record, wrong_content
from trim.policies.policy import Explanation, FittedPolicy
from trim.policies.rivals.cascade import UNFINISHED, ScoreSummary, summarise_solution
from trim.scorers.scorer import KINDS
from trim.types import Action, Observation


@dataclass(frozen=True)
class VerifierTable:
    """Gain and cost of escalation, by the verifier's score of the weak model's solution.

    Attributes:
        summary: how step scores become the verifier's score v in [0, 1].
        edges: (n - 1,) rising bounds between bins; bin i holds edges[i-1] <= v < edges[i].
        gains: (n,) P(strong right) - P(weak right) per bin, in [-1, 1].
        costs: (n,) mean tokens that the strong model decodes for a solution, per bin.
    """

    summary: ScoreSummary
    edges: tuple[float, ...]
    gains: tuple[float, ...]
    costs: tuple[float, ...]

    def escalates(self, value: float, price: float) -> bool:
        """Whether the expected gain exceeds `price` (right answers per token) times the cost."""
        gain, cost = self.expected(value)
        return gain > price * cost

    def expected(self, value: float) -> tuple[float, float]:
        """Expected gain in right answers, and cost in tokens, of escalation."""
        bin = bisect_right(self.edges, value)
        return self.gains[bin], self.costs[bin]

    def is_sound(self) -> bool:
        """Whether sizes and ranges are those of the attributes."""
        bins = len(self.edges) + 1
        return (
            len(self.gains) == len(self.costs) == bins
            and all(low < high for low, high in pairwise(self.edges))
            and all(-1 <= gain <= 1 for gain in self.gains)
            and all(cost >= 0 for cost in self.costs)
        )

    def prices(self) -> tuple[float, ...]:
        """One price for each distinct greedy decision, rising: each escalates fewer bins."""
        ratios = {g / c for g, c in zip(self.gains, self.costs, strict=True) if g > 0 and c > 0}
        levels = sorted({0.0, *ratios})
        midpoints = (float(f"{(a + b) / 2:.4g}") for a, b in pairwise(levels))
        return tuple(dict.fromkeys(midpoints))


@dataclass(frozen=True)
class AutoMix(FittedPolicy):
    """Restarts with the strong model if the expected gain exceeds the price of its tokens.

    AutoMix (arXiv 2310.12963) with the greedy decision on a binned verifier, the weak model's
    own confidence. `read_automix` reads it from a file of `trim fit-rival`.

    Attributes:
        price: lambda >= 0, in right answers per strong token.
        scorer: the kind of score that the table was fitted to.
    """

    family: ClassVar[str] = "automix"
    restarts = True

    table: VerifierTable
    price: float
    scorer: str = "logprob"

    @property
    def name(self) -> str:
        return self.labelled_name(self.family, self.price)

    def decide(self, observation: Observation) -> Action:
        if not observation.last:
            return Action.CONTINUE
        value = summarise_solution(observation, self.table.summary)
        return Action.RESTART if self.table.escalates(value, self.price) else Action.CONTINUE

    def explain(self, observation: Observation) -> Explanation:
        if not observation.last:
            return Explanation(UNFINISHED)
        value = summarise_solution(observation, self.table.summary)
        gain, cost = self.table.expected(value)
        return Explanation(
            f"verdict {value:.2f}: a new solution should gain {gain:.2f} right answers, and its"
            f" {cost:.0f} tokens cost {self.price * cost:.2f}"
        )


@dataclass(frozen=True)
class AutoMixPRM(AutoMix):
    """AutoMix with a process reward model, or joint scores, as its verifier."""

    family: ClassVar[str] = "automix-prm"

    scorer: str = "prm"


def automix_record(family: str, table: VerifierTable) -> dict[str, Any]:
    """The content of the file for `read_automix`."""
    return {
        "policy": family,
        "verdict": str(table.summary),
        "edges": list(table.edges),
        "gains": list(table.gains),
        "costs": list(table.costs),
    }


def read_automix(kind: type[AutoMix], path: Path, prices: tuple[float, ...] = ()) -> list[AutoMix]:
    """One policy per price; without prices, one per distinct greedy decision.

    Raises:
        InvalidInput: the file is unreadable, of another family, or malformed.
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
