"""Models that write inside steps, and a scorer, at the speed of a simulated engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulated.drafts import Drafts, ScoreSource
from simulated.engine import Engine
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.spans import StopRule, TokenReader, mean_of
from trim.scorers.scorer import Scores
from trim.steps import SEPARATOR

Tokenize = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class SimulatedModel:
    """Writes the drafts of a source (`SpanModel`).

    As an engine that streams does, it decodes no token after the one at which a rule ends a text.

    Args:
        engine: None for a model that takes no time.
        tokenize: the tokens of a prompt, for the time to read it and the prefix cache.
    """

    name: str
    drafts: Drafts
    tokenize: Tokenize
    engine: Engine | None = None

    vocabulary = "simulated"

    async def span_obstacle(self) -> str | None:
        return None

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        return await self.write_span(prefix, sampling, seed)

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        draft = await self.drafts.draft(prefix, seed)
        reader = TokenReader(prefix.begun, stop)
        for token in draft.tokens[: sampling.max_tokens]:
            if reader.add(token):
                break
        ending = draft.ending
        if reader.kept is not None:
            ending = reader.ending(None)
        elif len(reader.tokens) < len(draft.tokens):
            ending = Ending.LENGTH
        kept = reader.decoded[:-1] if ending is Ending.SOLUTION else reader.decoded
        # The last token is not yet in the cache of keys and values.
        texts = [token.text for token in reader.tokens[:-1]]
        spent = await self._serve(prefix, texts, len(reader.tokens))
        return Completion(
            "".join(token.text for token in kept),
            ending,
            *spent,
            log_probability=mean_of(kept),
            decoded=kept,
            dropped=reader.dropped,
        )

    async def prefill(self, prefix: Prefix) -> Completion:
        return Completion("", Ending.LENGTH, *await self._serve(prefix, (), 1))

    async def write_solution(self, question: str, text: str) -> Completion:
        """A whole solution in one request; its text is given."""
        tokens = self.tokenize(text)
        spent = await self._serve(Prefix(question), tokens[:-1], len(tokens))
        return Completion(text, Ending.SOLUTION, *spent)

    async def _serve(
        self, prefix: Prefix, texts: Sequence[str], tokens: int
    ) -> tuple[int, int, int, float]:
        """Tokens decoded, tokens of the prompt, cached ones, and seconds."""
        prompt = self.tokenize(prefix.full_question + SEPARATOR + prefix.text)
        if self.engine is None:
            return tokens, len(prompt), 0, 0.0
        started = self.engine.now()
        request = await self.engine.serve(prompt, texts, tokens)
        return tokens, len(prompt), request.cached, self.engine.now() - started


@dataclass(frozen=True)
class SimulatedScorer:
    """Gives the scores of a source; reads the whole trace at every call."""

    name: str
    source: ScoreSource
    tokenize: Tokenize
    engine: Engine | None = None

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        values = await self.source.scores(trace, written)
        prompt = self.tokenize(trace.full_question + SEPARATOR + trace.text)
        if self.engine is None:
            return Scores(values, len(prompt))
        started = self.engine.now()
        request = await self.engine.serve(prompt)
        return Scores(values, len(prompt), request.cached, 0, self.engine.now() - started)
