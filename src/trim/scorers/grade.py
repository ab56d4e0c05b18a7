"""The strong model grades each step by one digit (SpecReason, arXiv 2504.07891)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trim.models.model import Completion, Prefix
from trim.scorers.each import score_each
from trim.scorers.scorer import Scores
from trim.steps import join_steps

if TYPE_CHECKING:
    from trim.engines.llama_cpp import LlamaCppEngine

GRADING_PROMPT = "Grade: "
"""What the strong model continues by a digit, after the steps and a blank line."""
BEST_GRADE = 9
ONE_DIGIT = "root ::= [0-9]"
"""The grammar of an answer. With it the engine tells the probabilities of the ten digits."""


class GradeScorer:
    """Asks `engine` for a grade from 0 to 9 after each step: one token, and no reward model.

    The score is the expected grade over the probabilities of the ten digits, divided
    by 9; the digit that was written, divided by 9, where the engine tells none.

    Args:
        engine: runs the strong model, and may be the one that it writes with, so that a
            prefix is in its cache. The tokens count as the scorer's (a price list
            charges them as the strong model's).
    """

    name = "grade"
    reads_confidence = False

    def __init__(self, engine: LlamaCppEngine) -> None:
        self.engine = engine

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, self._score_newest)

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        answer = await self.engine.complete(
            join_steps(trace.asked, trace.steps) + GRADING_PROMPT,
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
    """The likeliest first tokens with their `prob` or `logprob`; empty where none are told."""
    content = (raw["choices"][0].get("logprobs") or {}).get("content") or [{}]
    return content[0].get("top_probs") or content[0].get("top_logprobs") or []


def grade_of(written: str, likeliest: Iterable[Mapping[str, Any]]) -> float:
    """A grade in [0, 9].

    Args:
        written: the answer, taken as it is where `likeliest` holds no digit; half of the
            best grade where it is no digit either.
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
