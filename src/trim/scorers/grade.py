"""The strong model grades each step by one digit (SpecReason, arXiv 2504.07891)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from trim.models.model import Completion, Prefix
from trim.models.response import Response
from trim.scorers.scorer import Scores, require_scores, score_each
from trim.steps import SEPARATOR, bare, join_steps
from trim.types import GRADE

if TYPE_CHECKING:
    from trim.engines.llama_cpp import LlamaCppEngine

GRADING_PROMPT = "Grade: "
"""Text after the steps that the strong model continues with a digit."""
BEST_GRADE = 9
ONE_DIGIT = "root ::= [0-9]"
"""Grammar of an answer; with it the engine returns the probabilities of the ten digits."""


class GradeScorer:
    """Asks the strong model for a grade from 0 to 9 after each step: one token, no reward model.

    The score is the expected grade over the probabilities of the ten digits, divided by 9; without
    probabilities, the decoded digit divided by 9.

    Args:
        engine: runs the strong model; the engine that it writes with has the prefix in its cache.
            The tokens count as the scorer's; a price list charges them as the strong model's.
    """

    name = GRADE
    reads_confidence = False

    def __init__(self, engine: LlamaCppEngine) -> None:
        self.engine = engine

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, self._score_newest)

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        answer = await self.engine.complete(
            join_steps(trace.full_question, trace.steps) + GRADING_PROMPT,
            n_predict=1,
            grammar=ONE_DIGIT,
            logprobs=10,
            post_sampling_probs=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            seed=0,
        )
        value = grade_of(answer.text, listed_tokens(answer.raw)) / BEST_GRADE
        return Scores(
            (value,), answer.prompt_tokens, answer.cached_tokens, answer.tokens, answer.seconds
        )


def listed_tokens(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The likeliest first tokens with `prob` or `logprob`; empty where none are returned."""
    content = (raw["choices"][0].get("logprobs") or {}).get("content") or [{}]
    return content[0].get("top_probs") or content[0].get("top_logprobs") or []


def grade_of(written: str, likeliest: Iterable[Mapping[str, Any]]) -> float:
    """A grade in [0, 9].

    Args:
        written: the decoded answer, used where `likeliest` holds no digit; half of the best grade
            if it is no digit either.
        likeliest: entries with `token` and `prob` or `logprob`.
    """
    chances = [0.0] * (BEST_GRADE + 1)
    for entry in likeliest:
        if is_digit(entry["token"]):
            chance = entry["prob"] if "prob" in entry else math.exp(entry["logprob"])
            chances[int(entry["token"])] += chance
    if total := sum(chances):
        expected = sum(grade * chance for grade, chance in enumerate(chances)) / total
        return min(expected, float(BEST_GRADE))
    return float(written) if is_digit(written) else BEST_GRADE / 2


def is_digit(token: str) -> bool:
    return token.strip() in set("0123456789")


REQUEST = (
    "Problem:\n\n{question}\n\nSolution so far:\n\n{steps}\n\nGrade the last step from 0 (wrong"
    " or useless) to 9 (right and useful). Answer with one digit and nothing else."
)
LIKELIEST = 20
TOKENS = 2
"""Maximum tokens of a grade: some tokenizers put a blank before the digit."""


class Replying(Protocol):
    """A model that answers a single message."""

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response: ...


class HttpGradeScorer:
    """Asks the strong model for one digit after each step, without a reward model.

    The score is the expected grade over the digits among the likeliest tokens, divided by 9;
    without probabilities, the decoded digit divided by 9. Its tokens count as the scorer's; a price
    list charges them as the strong model's.

    Args:
        model: the strong model.
        likeliest: tokens whose log-probabilities are requested; 0 for a server without them.
    """

    name = GradeScorer.name
    reads_confidence = False

    def __init__(self, model: Replying, likeliest: int = LIKELIEST) -> None:
        self.model = model
        self.likeliest = likeliest

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Grade the newest steps, one request for each.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        scores = await score_each(trace, written, self._score_newest)
        return replace(scores, values=require_scores(scores.values))

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        started = time.perf_counter()
        request = REQUEST.format(
            question=trace.full_question, steps=SEPARATOR.join(map(bare, trace.steps))
        )
        answer = await self.model.reply(request, TOKENS, self.likeliest)
        seconds = time.perf_counter() - started
        return Scores.of([grade_in(answer) / BEST_GRADE], answer.usage, seconds)


def grade_in(answer: Response) -> float:
    """A grade in [0, 9], from the first token that is not blank."""
    first = next((token for token in answer.tokens if token.text.strip()), None)
    likeliest = (
        [{"token": text, "logprob": value} for text, value in first.likeliest] if first else []
    )
    return grade_of(answer.text.strip()[:1], likeliest)
