"""The actual cost of a run: every answered request, counted once."""

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
from trim.models.spans import ModelWrapper, StopRule, require_spans
from trim.scorers.scorer import Scorer, Scores, usage_of
from trim.types import Usage, usage_from_json

NAME = "bill.json"
SAVE_INTERVAL = 10
"""Requests between two writes of a bill; a killed run loses fewer requests than this."""


class Bill:
    """Tokens by role, as they were requested from models and scorers.

    A step that several policies share counts once; discarded drafts count. Tokens that a server
    decoded for a failed request are unknown and do not count. The bill is written after every
    `SAVE_INTERVAL` requests and by `save`.

    Args:
        prices: None if nothing is billed.
        folder: folder with the bill of earlier sessions, which `recover` reads; None to keep the
            bill in memory.

    Attributes:
        steps, tokens: written by the models since this bill was created, discarded ones
            included; without scores and prefill.
    """

    def __init__(self, prices: Prices | None, folder: Path | None = None) -> None:
        self.prices = prices
        self.path = folder / NAME if folder else None
        self.usage: dict[str, Usage] = {}
        self.steps = self.tokens = 0
        self._unsaved = 0

    def recover(self) -> None:
        """Add the cost of earlier sessions.

        Raises:
            InvalidInput: the file is damaged. It is kept: a bill that began at 0 would let the run
                spend its cost limit again.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            record = read_object(self.path)
            self.usage = {
                role: usage_from_json(counts) for role, counts in current_roles(record).items()
            }
        except (OSError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{self.path}: damaged, so the cost of the run so far is unknown; restore the file,"
                " or delete it to count from 0"
            ) from error

    @property
    def money(self) -> float | None:
        """Cost so far; None if nothing is billed."""
        return self.prices.of_usage(self.usage) if self.prices else None

    def reaches(self, max_money: float | None) -> bool:
        """Whether the cost limit `max_money` is reached; never if nothing is billed."""
        money = self.money
        return max_money is not None and money is not None and money >= max_money

    def add(self, role: str, used: Completion | Scores) -> None:
        """Count an answered request. Raises InvalidInput as `save`."""
        self.usage[role] = self.usage.get(role, Usage()) + usage_of(used)
        self._unsaved += 1
        if self._unsaved >= SAVE_INTERVAL:
            self.save()

    def add_step(self, role: str, written: Completion) -> None:
        """As `add`, for a step."""
        self.steps += 1
        self.tokens += written.tokens
        self.add(role, written)

    def drain(self) -> dict[str, Any]:
        """Return the counts as JSON, for `merge` in another process, and reset them to 0."""
        record = {
            "usage": {role: asdict(usage) for role, usage in self.usage.items()},
            "steps": self.steps,
            "tokens": self.tokens,
        }
        self.usage, self.steps, self.tokens = {}, 0, 0
        return record

    def merge(self, record: Mapping[str, Any]) -> None:
        """Add the counts that `drain` returned in another process."""
        for role, usage in record["usage"].items():
            self.usage[role] = self.usage.get(role, Usage()) + Usage(**usage)
        self.steps += record["steps"]
        self.tokens += record["tokens"]

    def save(self) -> None:
        """Write the bill to its file, if it has one. Raises InvalidInput if that fails."""
        if self.path is None:
            return
        record = {role: asdict(usage) for role, usage in self.usage.items()}
        with writing(self.path):
            write_atomically(self.path, json.dumps(record, indent=2) + "\n")
        self._unsaved = 0


class BilledModel(ModelWrapper):
    """A model whose tokens are counted on a bill."""

    def __init__(self, model: Model, role: str, bill: Bill) -> None:
        super().__init__(model)
        self.role = role
        self.bill = bill

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        written = await self.model.write_step(prefix, sampling, seed)
        self.bill.add_step(self.role, written)
        return written

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        model = await require_spans(self.model)
        written = await model.write_span(prefix, sampling, seed, stop)
        self.bill.add_step(self.role, written)
        return written


class BilledPrefillingModel(BilledModel):
    """As `BilledModel`, for a model with prefill."""

    def __init__(self, model: Model, prefilling: Prefilling, role: str, bill: Bill) -> None:
        super().__init__(model, role, bill)
        self.prefilling = prefilling

    async def prefill(self, prefix: Prefix) -> Completion:
        read = await self.prefilling.prefill(prefix)
        self.bill.add(self.role, read)
        return read


class BilledScorer:
    """A scorer whose tokens are counted on a bill; grades count as the strong model's."""

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
    """Raises InvalidInput for a cost limit without prices."""
    if max_money is not None and prices is None:
        raise InvalidInput(
            f"--max-money {max_money:g}: needs prices; add --prices FILE or --prices example"
        )


def cost_limit_error(money: float | None, done: int, problems: int) -> MoneySpent:
    """The error that ends a run at its cost limit (`--max-money`)."""
    return MoneySpent(
        f"the run reached its cost limit: {money or 0:.6g} spent, {done} of {problems} problems"
        " done; to continue, repeat the command with a larger --max-money"
    )
