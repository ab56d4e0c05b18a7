"""Models and scorers that start each solution with an empty prefix cache.

An engine that solves many problems at a time, each of them with several policies, caches more or
less than one that solves a single problem: its own counts of cached tokens say little about what a
policy costs. Here a model has in its cache what it has read and written for the solution, and
nothing else. Evaluations and recorded solutions of banks are counted so, and
`trim.rollouts.replay` counts in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trim.models.model import Completion, Model, Prefilling, Prefix, Sampling
from trim.models.spans import ModelWrapper, StopRule, require_spans
from trim.scorers.scorer import Scorer, Scores


class PrefixCache:
    """Texts that were read for one solution, with their numbers of tokens."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}

    def read(self, text: str, prompt_tokens: int) -> int:
        """Add a text; returns how many of its tokens were cached.

        Args:
            prompt_tokens: of the whole prompt that ends with the text.
        """
        begun = (tokens for known, tokens in self._tokens.items() if text.startswith(known))
        cached = min(max(begun, default=0), prompt_tokens)
        self._tokens[text] = prompt_tokens
        return cached

    def write(self, text: str, tokens: int) -> None:
        """Add a text that ends with what was just written.

        Args:
            tokens: of prompt and writing.
        """
        self._tokens[text] = tokens


class ColdModel(ModelWrapper):
    """A model with a `PrefixCache`; use one for each solution.

    Args:
        caches: whether its engine is assumed to cache all of that. Otherwise cached tokens are at
            most those that the engine reports, which may have no cache.
    """

    def __init__(self, model: Model, caches: bool = True) -> None:
        super().__init__(model)
        self.caches = caches
        self._cache = PrefixCache()

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        return self._counted(prefix, await self.model.write_step(prefix, sampling, seed))

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        model = await require_spans(self.model)
        return self._counted(prefix, await model.write_span(prefix, sampling, seed, stop))

    def _counted(self, prefix: Prefix, written: Completion) -> Completion:
        cached = self._cache.read(prefix.text, written.prompt_tokens)
        self._cache.write(prefix.text + written.text, written.prompt_tokens + written.kept)
        if not self.caches:
            cached = min(cached, written.cached_tokens)
        return replace(written, cached_tokens=cached)


class ColdPrefillingModel(ColdModel):
    """As `ColdModel`, for a model with prefill."""

    def __init__(self, model: Model, prefilling: Prefilling, caches: bool = True) -> None:
        super().__init__(model, caches)
        self.prefilling = prefilling

    async def prefill(self, prefix: Prefix) -> Completion:
        read = replace(await self.prefilling.prefill(prefix), text="", decoded=(), dropped=())
        return self._counted(prefix, read)


def as_if_alone(model: Model) -> ColdModel:
    """The model for one solution of several that are under way at its engine."""
    if isinstance(model, Prefilling):
        return ColdPrefillingModel(model, model, caches=False)
    return ColdModel(model, caches=False)


class ColdScorer:
    """A scorer with a `PrefixCache`; use one for each solution. `caches`: as in `ColdModel`."""

    def __init__(self, scorer: Scorer, caches: bool = True) -> None:
        self.scorer = scorer
        self.caches = caches
        self.name = scorer.name
        self.reads_confidence: bool = getattr(scorer, "reads_confidence", True)
        self._cache = PrefixCache()

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        scores = await self.scorer.score(trace, written)
        requests = scores.requests or (scores,)
        first = len(trace.steps) - len(requests) + 1
        cached = sum(
            self._cached(trace.until(end), request) for end, request in enumerate(requests, first)
        )
        return replace(scores, cached_tokens=cached)

    def _cached(self, trace: Prefix, request: Scores) -> int:
        cached = self._cache.read(trace.text, request.prompt_tokens)
        return cached if self.caches else min(cached, request.cached_tokens)
