"""A language model that grades a step by one token: "+" right, "-" wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.model import Completion, Prefix
from trim.odds import logistic
from trim.scorers.each import score_each
from trim.scorers.scorer import Scores
from trim.steps import join_steps

RIGHT, WRONG = "+", "-"


class LabelScorer:
    """Reads the trace so far and compares the probabilities of the two label tokens.

    The score is p(+) / (p(+) + p(-)), the probability that the newest step is right.
    """

    reads_confidence = False

    def __init__(self, engine: LlamaCppEngine, name: str) -> None:
        self.engine = engine
        self.name = name

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, self._score_newest)

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        answer = await self.engine.complete(
            join_steps(trace.asked, trace.steps), n_predict=1, temperature=0.0, logprobs=8
        )
        top = answer.raw["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        value = label_probability({entry["token"]: entry["logprob"] for entry in top})
        return Scores(
            (value,), answer.prompt_tokens, answer.cached_tokens, answer.tokens, answer.seconds
        )


def label_probability(log_probabilities: dict[str, float]) -> float:
    """p(+) / (p(+) + p(-)), in [0, 1]; 0.5 where neither label is among the likeliest."""
    right = log_probabilities.get(RIGHT, -math.inf)
    wrong = log_probabilities.get(WRONG, -math.inf)
    if right == wrong == -math.inf:
        return 0.5
    return logistic(right - wrong)
