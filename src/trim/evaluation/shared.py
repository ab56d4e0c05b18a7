"""Caches of steps and scores that several policies share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from trim.models.model import Completion, Model, Prefilling, Prefix, Sampling
from trim.models.spans import ModelWrapper, StopRule, require_spans
from trim.scorers.scorer import Scorer, Scores


class SharedModel(ModelWrapper):
    """Caches every step of `model`.

    A step is a function of (prefix, sampling, seed), so solutions are the same with and without
    the cache; common prefixes are computed once. The cache is unbounded: use one per problem.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._steps: dict[tuple[Prefix, Sampling, int], asyncio.Task[Completion]] = {}
        self._spans: dict[
            tuple[Prefix, Sampling, int, StopRule | None], asyncio.Task[Completion]
        ] = {}

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        key = (prefix, sampling, seed)
        if key not in self._steps:
            self._steps[key] = asyncio.ensure_future(self.model.write_step(*key))
        return await asyncio.shield(self._steps[key])

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        key = (prefix, sampling, seed, stop)
        if key not in self._spans:
            model = await require_spans(self.model)
            self._spans[key] = asyncio.ensure_future(model.write_span(*key))
        return await asyncio.shield(self._spans[key])


class SharedPrefillingModel(SharedModel):
    """As `SharedModel`, for a model with prefill: each prefix is read once."""

    def __init__(self, model: Model, prefilling: Prefilling) -> None:
        super().__init__(model)
        self.prefilling = prefilling
        self._read: dict[Prefix, asyncio.Task[Completion]] = {}

    async def prefill(self, prefix: Prefix) -> Completion:
        if prefix not in self._read:
            self._read[prefix] = asyncio.ensure_future(self.prefilling.prefill(prefix))
        return await asyncio.shield(self._read[prefix])


def share(model: Model) -> SharedModel:
    """The model with a cache of its steps."""
    return (
        SharedPrefillingModel(model, model) if isinstance(model, Prefilling) else SharedModel(model)
    )


class SharedScorer:
    """Caches every score of `scorer`.

    If the scorer only reads text (`reads_confidence` is False), the same text by two authors is
    scored once; otherwise the authors' confidence is part of the key.
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._scores: dict[tuple[Any, ...], asyncio.Task[Scores]] = {}

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        confidence = ((step.log_probability, step.first_entropy) for step in written)
        key = (trace, *confidence) if self.reads_confidence else (trace, len(written))
        if key not in self._scores:
            self._scores[key] = asyncio.ensure_future(self.scorer.score(trace, written))
        return await asyncio.shield(self._scores[key])
