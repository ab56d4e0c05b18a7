"""A language model that grades a step by one token: "+" right, "-" wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from trim.engines.chat_template import ChatTemplate
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import Refused
from trim.models.model import Completion, Prefix
from trim.models.response import Response
from trim.numerics import sigmoid
from trim.scorers.scorer import Scores, checked, score_each
from trim.steps import bare, join_steps

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
    return sigmoid(right - wrong)


LIKELIEST = 20
"""Tokens that the two labels are looked for among; most servers tell no more."""


class Reading(Protocol):
    """A model that tells what may come next after a text."""

    @property
    def name(self) -> str: ...
    @property
    def adds_begin(self) -> bool:
        """Whether the token that begins a text is put before it without being asked for."""
        ...

    async def read_on(self, text: str, likeliest: int) -> Response: ...


class HttpLabelScorer:
    """Compares the probabilities of the two labels as the next token: p(+) / (p(+) + p(-)).

    With a chat template the steps are turns, the first together with the question, and each is
    answered by a label, as in RLHFlow's reward models (arXiv 2405.07863); all earlier answers
    are `right`. Without one, question and steps are read as plain text, as by the shipped
    scorer.

    Args:
        model: the label model; of a server only its `/completions` is used.
    """

    reads_confidence = False

    def __init__(
        self,
        model: Reading,
        template: ChatTemplate | None = None,
        right: str = RIGHT,
        wrong: str = WRONG,
    ) -> None:
        self.model = model
        self.name = model.name
        self.template = template
        self.right = right
        self.wrong = wrong

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps, one request for each.

        Raises:
            Refused: neither label is among the likeliest tokens, so it is no such model.
            ContextExceeded, ModelUnavailable: see `HttpServer.ask`.
        """
        scores = await score_each(trace, written, self._score_newest)
        return replace(scores, values=checked(scores.values))

    def rendered(self, question: str, steps: Sequence[str]) -> str:
        """The text whose next token is the label of the newest step."""
        if self.template is None:
            return join_steps(question, steps)
        messages = []
        for index, step in enumerate(map(bare, steps)):
            said = f"{question} {step}" if index == 0 else step
            messages += [
                {"role": "user", "content": said},
                {"role": "assistant", "content": self.right},
            ]
        text = self.template.render(messages[:-1])
        return text.removeprefix(self.template.begin) if self.model.adds_begin else text

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        started = time.perf_counter()
        text = self.rendered(trace.asked, trace.steps)
        answer = await self.model.read_on(text, LIKELIEST)
        seconds = time.perf_counter() - started
        return Scores.of([self._share(answer)], answer.usage, seconds)

    def _share(self, answer: Response) -> float:
        likeliest = answer.tokens[0].likeliest if answer.tokens else ()
        chances = dict.fromkeys((self.right, self.wrong), 0.0)
        for token, value in likeliest:
            if token.strip() in chances:
                chances[token.strip()] += math.exp(value)
        total = sum(chances.values())
        if not total:
            raise Refused(
                f"{self.name}: neither {self.right!r} nor {self.wrong!r} is among the next"
                " token's likeliest; name a label model, and its own labels"
            )
        return min(chances[self.right] / total, 1.0)
