"""The strong model's grade of each step, over HTTP (SpecReason, arXiv 2504.07891)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from trim.models.answer import Answer
from trim.models.model import Completion, Prefix
from trim.scorers.checked import checked
from trim.scorers.each import score_each
from trim.scorers.grade import BEST_GRADE, GradeScorer, grade_of
from trim.scorers.scorer import Scores
from trim.steps import SEPARATOR, bare

REQUEST = (
    "Problem:\n\n{question}\n\nSolution so far:\n\n{steps}\n\nGrade the last step from 0 (wrong"
    " or useless) to 9 (right and useful). Answer with one digit and nothing else."
)
LIKELIEST = 20
TOKENS = 2
"""That a grade may take: some tokenizers put a blank before the digit."""


class Replying(Protocol):
    """A model that answers a single message."""

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Answer: ...


class HttpGradeScorer:
    """Asks the strong model for one digit after each step, with no reward model.

    The score is the expected grade over the digits among the likeliest tokens, divided by 9;
    the digit that was written where the server tells no probabilities. Its tokens count as the
    scorer's (a price list charges them as the strong model's).

    Args:
        likeliest: tokens to ask probabilities of; 0 for a server that tells none.
    """

    name = GradeScorer.name
    reads_confidence = False

    def __init__(self, model: Replying, likeliest: int = LIKELIEST) -> None:
        self.model = model
        self.likeliest = likeliest

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Grade the newest steps, one request for each.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.ask`.
        """
        scores = await score_each(trace, written, self._score_newest)
        return replace(scores, values=checked(scores.values))

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        started = time.perf_counter()
        request = REQUEST.format(question=trace.asked, steps=SEPARATOR.join(map(bare, trace.steps)))
        answer = await self.model.reply(request, TOKENS, self.likeliest)
        seconds = time.perf_counter() - started
        return Scores.of([grade_in(answer) / BEST_GRADE], answer.usage, seconds)


def grade_in(answer: Answer) -> float:
    """A grade in [0, 9]: by the first token that is more than a blank."""
    told = next((token for token in answer.tokens if token.text.strip()), None)
    likeliest = (
        [{"token": text, "logprob": value} for text, value in told.likeliest] if told else []
    )
    return grade_of(answer.text.strip()[:1], likeliest)
