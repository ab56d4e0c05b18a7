"""Drafts that the simulated models write inside steps: recorded ones, and generated ones."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from simulated.script import SPREAD, probability, score, write_step
from trim.models.model import Completion, Ending, Prefix, Sampling, Token
from trim.models.spans import SpanModel
from trim.scorers.scorer import Scorer, Scores
from trim.steps import SEPARATOR

SHIPPED_TOKEN = re.compile(r" ?[A-Za-z]+| ?\d| ?[^\w\s]|\s")
"""A token of the shipped models, apart from rare words of several."""


def shipped_tokens(text: str) -> list[str]:
    """A text as the shipped models read it."""
    return SHIPPED_TOKEN.findall(text)


@dataclass(frozen=True)
class Draft:
    """A text up to the end of its step.

    Attributes:
        tokens: those decoded, the one that ends the solution included.
    """

    tokens: tuple[Token, ...]
    ending: Ending


class Drafts(Protocol):
    """The texts of a simulated model."""

    async def draft(self, prefix: Prefix, seed: int) -> Draft: ...


@dataclass(frozen=True)
class RecordedDrafts:
    """Drafts of a real model, each written once and then known.

    Its calls with a new prefix or seed call the model, which needs an event loop in real time.
    """

    model: SpanModel
    sampling: Sampling
    _known: dict[tuple[Prefix, int], Draft] = field(default_factory=dict)

    async def draft(self, prefix: Prefix, seed: int) -> Draft:
        if (prefix, seed) not in self._known:
            seen: tuple[Token, ...] = ()

            def see(tokens: Sequence[Token]) -> None:
                nonlocal seen
                seen = tuple(tokens)

            # The rule sees the token that ends the solution, which a completion leaves out.
            written = await self.model.write_span(prefix, self.sampling, seed, see)
            self._known[prefix, seed] = Draft(seen, written.ending)
        return self._known[prefix, seed]


class ScoreSource(Protocol):
    """The scores of a simulated scorer."""

    async def scores(self, trace: Prefix, written: Sequence[Completion]) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class RecordedScores:
    """Scores of a real scorer, each computed once and then known."""

    scorer: Scorer
    _known: dict[tuple[Prefix, int], Scores] = field(default_factory=dict)

    async def scores(self, trace: Prefix, written: Sequence[Completion]) -> tuple[float, ...]:
        key = trace, len(written)
        if key not in self._known:
            self._known[key] = await self.scorer.score(trace, written)
        return self._known[key].values


class GeneratedDrafts:
    """Texts of `simulated.script`; all models write the same one.

    A token is a word. Its probability is drawn from those of a real draft (`script.DOUBTS`).
    """

    async def draft(self, prefix: Prefix, seed: int) -> Draft:
        tokens, ending = generated_step(prefix.until(len(prefix.steps)))
        begun = len(prefix.begun.split())
        return Draft(tokens[begun:], ending)


@lru_cache(maxsize=100_000)
def generated_step(prefix: Prefix) -> tuple[tuple[Token, ...], Ending]:
    text = prefix.question + SEPARATOR + prefix.text
    step = write_step("", text, 0, SPREAD)
    ends = SEPARATOR if step.stopped else ""
    texts = [*(f" {word}" if number else word for number, word in enumerate(step.words)), ends]
    tokens = tuple(
        Token(token, math.log(probability(text, number))) for number, token in enumerate(texts)
    )
    return tokens, Ending.STEP if step.stopped else Ending.SOLUTION


class GeneratedScores:
    """Scores of `simulated.script`."""

    async def scores(self, trace: Prefix, written: Sequence[Completion]) -> tuple[float, ...]:
        return tuple(score(step.text) for step in written)
