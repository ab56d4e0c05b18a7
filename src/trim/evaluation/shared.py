"""Computes each step once, however many policies ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from trim.models.model import Completion, Model, Prefilling, Prefix, Sampling
from trim.scorers.scorer import Scorer, Scores


class SharedModel:
    """Remembers every step that `model` wrote and hands it to whoever asks again.

    A step is a function of (prefix, sampling, seed), so the solutions of a sweep are
    the same with and without it; only the common prefixes are computed once. Meant to
    live as long as one problem: it never forgets.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name = model.name
        self._steps: dict[tuple[Prefix, Sampling, int], asyncio.Task[Completion]] = {}

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        key = (prefix, sampling, seed)
        if key not in self._steps:
            self._steps[key] = asyncio.ensure_future(self.model.write_step(*key))
        return await asyncio.shield(self._steps[key])


class SharedPrefillingModel(SharedModel):
    """The same for a model that can read in advance: each prefix is read once."""

    def __init__(self, model: Model, prefilling: Prefilling) -> None:
        super().__init__(model)
        self.prefilling = prefilling
        self._read: dict[Prefix, asyncio.Task[Completion]] = {}

    async def prefill(self, prefix: Prefix) -> Completion:
        if prefix not in self._read:
            self._read[prefix] = asyncio.ensure_future(self.prefilling.prefill(prefix))
        return await asyncio.shield(self._read[prefix])


def share(model: Model) -> SharedModel:
    """A model whose steps are computed once."""
    return (
        SharedPrefillingModel(model, model) if isinstance(model, Prefilling) else SharedModel(model)
    )


class SharedScorer:
    """The same for a scorer.

    The same text of two authors is scored once where the scorer says that it only reads
    (`reads_confidence` is False); one that says nothing may ask how sure each author was.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._scores: dict[tuple[Any, ...], asyncio.Task[Scores]] = {}

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        told = ((step.log_probability, step.first_entropy) for step in written)
        key = (trace, *told) if self.reads_confidence else (trace, len(written))
        if key not in self._scores:
            self._scores[key] = asyncio.ensure_future(self.scorer.score(trace, written))
        return await asyncio.shield(self._scores[key])
