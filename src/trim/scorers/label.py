"""A language model that grades a step by one token: "+" right, "-" wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import Refused
from trim.models.model import Completion, Prefix
from trim.models.response import Response
from trim.numerics import sigmoid
from trim.scorers.scorer import Scores, require_scores, score_each
from trim.steps import bare, join_steps

RIGHT, WRONG = "+", "-"


class LabelScorer:
    """Compares the probabilities of the two labels as the next token after plain text.

    The score is p(+) / (p(+) + p(-)), the probability that the newest step is right.

    Args:
        engine: GGUF file of the label model, loaded here, or an engine that runs it.
        name: name in traces; the file's by default.
    """

    reads_confidence = False

    def __init__(self, engine: LlamaCppEngine | Path | str, name: str | None = None) -> None:
        self.engine = LlamaCppEngine(engine) if isinstance(engine, Path | str) else engine
        self.name = name or self.engine.path.stem

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        return await score_each(trace, written, self._score_newest)

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        answer = await self.engine.complete(
            join_steps(trace.full_question, trace.steps), n_predict=1, temperature=0.0, logprobs=8
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
"""Likeliest tokens among which the labels are sought; most servers return no more."""


class Reading(Protocol):
    """A model that returns the likeliest next tokens after a text (`OpenAIModel.next_token`)."""

    @property
    def name(self) -> str: ...

    async def next_token(self, text: str, likeliest: int, begin: str = "") -> Response: ...


class HttpLabelScorer:
    """Compares the probabilities of the two labels as the next token: p(+) / (p(+) + p(-)).

    With a chat template each step is a user message, the first one after the question, answered by
    a label, as in RLHFlow's reward models (arXiv 2405.07863); all earlier answers are `right`.
    Without one, the model reads question and steps as plain text, like the shipped scorer.

    Args:
        model: the label model, as `OpenAIModel(url, name)`; only `/completions` is used.
        template: its chat template, a folder of tokenizer files, or a model on the hub; None for
            plain text.
        right, wrong: the labels.
    """

    reads_confidence = False

    def __init__(
        self,
        model: Reading,
        template: ChatTemplate | Path | str | None = None,
        right: str = RIGHT,
        wrong: str = WRONG,
    ) -> None:
        self.model = model
        self.name = model.name
        self.template = (
            read_chat_template(template) if isinstance(template, str | Path) else template
        )
        self.right = right
        self.wrong = wrong

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps, one request for each.

        Raises:
            Refused: neither label is among the likeliest tokens; it is no label model.
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        scores = await score_each(trace, written, self._score_newest)
        return replace(scores, values=require_scores(scores.values))

    def rendered(self, question: str, steps: Sequence[str]) -> str:
        """The text before the label of the newest step."""
        if self.template is None:
            return join_steps(question, steps)
        messages = []
        for index, step in enumerate(map(bare, steps)):
            content = f"{question} {step}" if index == 0 else step
            messages += [
                {"role": "user", "content": content},
                {"role": "assistant", "content": self.right},
            ]
        return self.template.render(messages[:-1])

    async def _score_newest(self, trace: Prefix, step: Completion) -> Scores:
        started = time.perf_counter()
        text = self.rendered(trace.full_question, trace.steps)
        begin = self.template.begin if self.template else ""
        answer = await self.model.next_token(text, LIKELIEST, begin)
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
