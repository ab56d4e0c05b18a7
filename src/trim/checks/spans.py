"""Checks of models inside a step: whether a draft stops at a token, and half a step goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trim.models.model import Completion, Model, Prefix, Sampling, Token
from trim.models.spans import SpanModel, span_obstacle
from trim.policies.span import word_start

LEAST = 6
"""Tokens of a step that can be divided for a trial."""
SHOWN = 20
"""Characters of a text that a line quotes."""


@dataclass(frozen=True)
class SpanTrial:
    """How a model writes inside a step.

    Attributes:
        obstacle: why it cannot, as a clause; None if it can.
        whole: a step, greedily; None where there is an obstacle.
        cut: the same, which a rule ends after a third of its tokens; None for a short step.
        half: the first half of the step, up to the end of a word.
        rest: what the model writes after `half`.
    """

    obstacle: str | None = None
    whole: Completion | None = None
    cut: Completion | None = None
    half: str = ""
    rest: str = ""

    @property
    def failure(self) -> str | None:
        """Why the model is not fit for policies inside steps, as a clause; None if it is."""
        if self.obstacle or not (self.whole and self.cut):
            return self.obstacle
        expected = self.whole.text[len(self.half) :]
        if self.rest.split()[:1] == expected.split()[:1]:
            return None
        return (
            f"after {self.half[-SHOWN:]!r} it writes {self.rest[:SHOWN]!r}, where its whole step"
            f" has {expected[:SHOWN]!r}"
        )

    @property
    def line(self) -> str:
        """The result, in one line."""
        if self.failure:
            return f"cannot write inside a step: {self.failure}"
        if not (self.whole and self.cut):
            return "inside a step: reports its tokens; the step was too short for a trial"
        stops = self.cut.tokens < self.whole.tokens
        draft = "a draft stops at a token" if stops else "a draft is decoded to its end"
        exact = self.half + self.rest == self.whole.text
        rest = "continues half a step exactly" if exact else "continues half a step in other words"
        counts = f"{self.cut.tokens} of {self.whole.tokens} tokens decoded"
        return f"inside a step: {draft} ({counts}); {rest}"


@dataclass(frozen=True)
class LengthRule:
    """Ends a text after a number of tokens."""

    length: int

    def __call__(self, tokens: Sequence[Token]) -> int | None:
        return self.length if len(tokens) > self.length else None


async def try_spans(model: Model, question: str, sampling: Sampling) -> SpanTrial:
    """Have a model write a step, end it after a third and continue it from its half.

    Raises:
        InvalidInput, ModelUnavailable: the model does not work.
    """
    obstacle = await span_obstacle(model)
    if obstacle or not isinstance(model, SpanModel):
        return SpanTrial(obstacle)
    greedy, prefix = replace(sampling, temperature=0.0), Prefix(question)
    whole = await model.write_span(prefix, greedy, 1)
    tokens = whole.decoded
    place = word_start(tokens, len(tokens) // 2) if len(tokens) >= LEAST else 0
    if not place:
        return SpanTrial(whole=whole)
    cut = await model.write_span(prefix, greedy, 1, LengthRule(len(tokens) // 3))
    half = "".join(token.text for token in tokens[:place])
    rest = await model.write_span(prefix.inside(half), greedy, 1)
    return SpanTrial(None, whole, cut, half, rest.text)
