"""What a run has really paid: every request that was answered, each once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trim.configuration.source import Models
from trim.costs import Prices, payer
from trim.errors import InvalidInput, MoneySpent
from trim.files import read_object, write_atomically, writing
from trim.legacy import current_roles
from trim.models.model import Completion, Model, Prefilling, Prefix, Sampling
from trim.scorers.scorer import Scorer, Scores
from trim.types import Usage

NAME = "bill.json"
EVERY = 10
"""Requests after which a bill is written; one that is killed loses fewer of them than that."""


class Bill:
    """Tokens by role, as the models and scorers were asked for them.

    A step that several policies share is paid once, and a draft that was dropped is paid. What a
    server decoded for a request that failed is not known. It is written after every `EVERY`
    requests, and when it is told to.

    Args:
        prices: that make money of them; None where nothing is billed.
        folder: where the bill of earlier sessions lies, to `recover` before the first request; None
            for a run without one.

    Attributes:
        steps, tokens: that the models have written since this bill was made, whatever became of
            them; neither scores nor prefixes that were read in advance are in them.
    """

    def __init__(self, prices: Prices | None, folder: Path | None = None) -> None:
        self.prices = prices
        self.path = folder / NAME if folder else None
        self.usage: dict[str, Usage] = {}
        self.steps = self.tokens = 0
        self._unsaved = 0

    def recover(self) -> None:
        """Go on from what earlier sessions have paid; from nothing where the file is damaged."""
        if self.path is None or not self.path.exists():
            return
        try:
            record = read_object(self.path)
            self.usage = {role: counted(spent) for role, spent in current_roles(record).items()}
        except (OSError, TypeError, ValueError):
            self.usage = {}

    @property
    def money(self) -> float | None:
        """What was paid; None where nothing is billed."""
        return self.prices.of_usage(self.usage) if self.prices else None

    def reaches(self, max_money: float | None) -> bool:
        """Whether as much as `max_money` was paid; no amount is reached where nothing is billed."""
        money = self.money
        return max_money is not None and money is not None and money >= max_money

    def add(self, role: str, used: Completion | Scores) -> None:
        """Put an answered request on the bill. Raises InvalidInput as `save`."""
        spent = Usage(used.prompt_tokens, used.cached_tokens, used.tokens)
        self.usage[role] = self.usage.get(role, Usage()) + spent
        self._unsaved += 1
        if self._unsaved >= EVERY:
            self.save()

    def add_step(self, role: str, written: Completion) -> None:
        """As `add`, for a step that a model has written."""
        self.steps += 1
        self.tokens += written.tokens
        self.add(role, written)

    def hand_over(self) -> dict[str, Any]:
        """What is on it, as JSON for the bill of another process; nothing is on it afterwards."""
        record = {
            "usage": {role: asdict(spent) for role, spent in self.usage.items()},
            "steps": self.steps,
            "tokens": self.tokens,
        }
        self.usage, self.steps, self.tokens = {}, 0, 0
        return record

    def take_over(self, record: Mapping[str, Any]) -> None:
        """Add what another process has handed over."""
        for role, spent in record["usage"].items():
            self.usage[role] = self.usage.get(role, Usage()) + Usage(**spent)
        self.steps += record["steps"]
        self.tokens += record["tokens"]

    def save(self) -> None:
        """Raises InvalidInput where it cannot be written."""
        if self.path is None:
            return
        record = {role: asdict(spent) for role, spent in self.usage.items()}
        with writing(self.path):
            write_atomically(self.path, json.dumps(record, indent=2) + "\n")
        self._unsaved = 0


def counted(record: Mapping[str, int]) -> Usage:
    """Raises TypeError or ValueError where these are no counts of tokens."""
    usage = Usage(**record)
    if any(type(count) is not int or count < 0 for count in vars(usage).values()):
        raise ValueError(f"{record}: no counts of tokens")
    return usage


class BilledModel:
    """A model whose tokens are put on a bill."""

    def __init__(self, model: Model, role: str, bill: Bill) -> None:
        self.model = model
        self.name = model.name
        self.role = role
        self.bill = bill

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        written = await self.model.write_step(prefix, sampling, seed)
        self.bill.add_step(self.role, written)
        return written


class BilledPrefillingModel(BilledModel):
    """The same for a model that can read in advance."""

    def __init__(self, model: Model, prefilling: Prefilling, role: str, bill: Bill) -> None:
        super().__init__(model, role, bill)
        self.prefilling = prefilling

    async def prefill(self, prefix: Prefix) -> Completion:
        read = await self.prefilling.prefill(prefix)
        self.bill.add(self.role, read)
        return read


class BilledScorer:
    """A scorer whose tokens are put on a bill; grades are the strong model's."""

    def __init__(self, scorer: Scorer, bill: Bill) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self.role = payer("scorer", scorer.name)
        self.bill = bill

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        scores = await self.scorer.score(trace, written)
        self.bill.add(self.role, scores)
        return scores


def billed(models: Models, bill: Bill) -> Models:
    """The same models and scorers, whose tokens are added to a bill."""

    def of(model: Model, role: str) -> Model:
        if isinstance(model, Prefilling):
            return BilledPrefillingModel(model, model, role, bill)
        return BilledModel(model, role, bill)

    return replace(
        models,
        weak=of(models.weak, "weak"),
        intermediate=tuple(
            of(each, f"intermediate-{n}") for n, each in enumerate(models.intermediate, 1)
        ),
        strong=of(models.strong, "strong"),
        scorers={kind: BilledScorer(each, bill) for kind, each in models.scorers.items()},
    )


def require_prices(max_money: float | None, prices: Prices | None) -> None:
    """Raises InvalidInput for a limit of money where nothing is billed."""
    if max_money is not None and prices is None:
        raise InvalidInput(
            f"--max-money {max_money:g}: nothing is billed here; give --prices FILE, or"
            " --prices example"
        )


def spent(money: float | None, done: int, problems: int) -> MoneySpent:
    """What ends a run at its `--max-money`."""
    return MoneySpent(
        f"{money or 0:.6g} is spent and {done} of {problems} problems are done; the same command"
        " with a larger --max-money goes on"
    )
