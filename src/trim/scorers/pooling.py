"""A process reward model that marks each step at a tag, served by vLLM's `/pooling`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trim.engines.chat_template import ChatTemplate
from trim.engines.http import HttpServer
from trim.errors import ContextExceeded, InvalidInput
from trim.models.model import Completion, Prefix
from trim.models.response import usage_of
from trim.numerics import sigmoid
from trim.scorers.scorer import Scores, checked
from trim.steps import bare
from trim.types import Usage

TAG = "<extra_0>"
"""After each step, for Qwen2.5-Math-PRM."""
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""The system message that Qwen2.5-Math-PRM was made with."""
SHARE = 0.9
"""Of the limit, which a trace is cut to where its length is only estimated."""


@dataclass(frozen=True)
class Pooled:
    """Rows of one answer, a row for each tag, and the tokens that were read."""

    rows: tuple[tuple[float, ...], ...]
    usage: Usage


class PoolingScorer:
    """Reads the whole trace and takes the probability of class 1 at the tag after each step.

    A trace longer than the reward model's limit loses its earliest steps, whole ones, until it
    fits; `Scores.unread_steps` says how many. Those tokens that the server has read before it
    said that it was too long count as well, as far as it tells.

    Args:
        server: of vLLM, with `--runner pooling` (`--task reward` before version 0.11) and
            a step tag in its pooler configuration.
        template: the reward model's chat template.
        limit: tokens that the reward model was made to read; None for the server's own limit.
        logits: the server gives logits, as with `use_activation: false`; they are turned into
            probabilities here.
        extra_body: fields of each request, as `{"task": "token_classify"}`; None leaves one out.
    """

    reads_confidence = False

    def __init__(
        self,
        server: HttpServer,
        model: str,
        template: ChatTemplate,
        name: str | None = None,
        tag: str = TAG,
        system: str | None = SYSTEM,
        limit: int | None = 4096,
        logits: bool = False,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise InvalidInput(f"{model}: limit {limit} must be a number of tokens from 1 up")
        self.server = server
        self.model = model
        self.template = template
        self.name = name or model
        self.tag = tag
        self.system = system
        self.limit = limit
        self.logits = logits
        self.extra_body = dict(extra_body or {})
        self._tokens_a_character = 0.0

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps.

        Raises:
            InvalidInput: the server marks another number of steps than it was sent.
            ContextExceeded: the newest step alone is too long.
            ModelUnavailable: see `HttpServer.ask`; also where scores stay outside [0, 1].
        """
        started = time.perf_counter()
        spent = Usage()
        text = whole = self.rendered(trace.asked, trace.steps)
        unread = self._estimate(trace, len(whole))
        while True:
            rest = trace.steps[unread:]
            if unread:
                text = self.rendered(trace.asked, rest)
            try:
                pooled = await self._ask(text, len(rest))
            except ContextExceeded:
                pooled = None
            if pooled:
                spent += pooled.usage
                self._tokens_a_character = pooled.usage.prompt_tokens / len(text)
                if self.limit is None or pooled.usage.prompt_tokens <= self.limit:
                    break
            if len(rest) <= len(written):
                raise ContextExceeded(
                    f"{self.name}: question and newest step do not fit the reward model's"
                    f" {self.limit or 'own'} tokens; shorten the problem"
                )
            unread = max(unread + 1, self._estimate(trace, len(whole)))
        values = checked([self._value(row) for row in pooled.rows])
        seconds = time.perf_counter() - started
        return Scores.of(values[-len(written) :], spent, seconds, unread)

    def rendered(self, question: str, steps: Sequence[str]) -> str:
        """The text that the reward model reads: every step is followed by the tag.

        A tag that a model wrote itself is taken out, for it would be a step of its own.
        """
        messages = [{"role": "system", "content": self.system}] if self.system else []
        plain = (bare(step.replace(self.tag, "")) for step in steps)
        messages += [
            {"role": "user", "content": question.replace(self.tag, "")},
            {"role": "assistant", "content": "".join(step + self.tag for step in plain)},
        ]
        return self.template.render(messages, add_generation_prompt=False)

    def _estimate(self, trace: Prefix, length: int) -> int:
        """Earliest steps to leave out so that the trace, `length` characters as it is rendered,
        is likely to fit: only if it is not."""
        if self.limit is None or not self._tokens_a_character:
            return 0
        room = self.limit / self._tokens_a_character
        if length <= room:
            return 0
        for unread in range(1, len(trace.steps)):
            if len(self.rendered(trace.asked, trace.steps[unread:])) <= SHARE * room:
                return unread
        return len(trace.steps) - 1

    async def _ask(self, text: str, steps: int) -> Pooled:
        body = {"model": self.model, "input": text, **self.extra_body}

        def read(raw: Any) -> Pooled:
            pooled = read_pooled(raw)
            if len(pooled.rows) != steps:
                raise InvalidInput(
                    f"{self.name}: {len(pooled.rows)} scores for {steps} steps; the server's"
                    f" step_tag_id must be the token {self.tag!r}, and it must not cut prompts"
                )
            checked([self._value(row) for row in pooled.rows])
            return pooled

        return await self.server.ask("//pooling", body, read)

    def _value(self, row: Sequence[float]) -> float:
        """The probability of the last class, that the step is right."""
        if not self.logits:
            return row[-1]
        odds = row[-1] - row[0] if len(row) == 2 else row[-1]
        return sigmoid(odds)


def read_pooled(raw: Mapping[str, Any]) -> Pooled:
    """The rows of an answer, from any of vLLM's forms.

    New ones have `data[0].data`, older ones `data[0].embedding`; a row is a list of class
    probabilities, a list of one, or a bare number.

    Raises:
        LookupError, TypeError, ValueError: the record lacks something or is damaged.
    """
    (entry,) = raw["data"]
    rows = entry["data"] if "data" in entry else entry["embedding"]
    if not isinstance(rows, list):
        raise ValueError("the rows are no list")
    listed = tuple(tuple(row) if isinstance(row, list) else (row,) for row in rows)
    if not all(listed):
        raise ValueError("a row is empty")
    return Pooled(listed, usage_of(raw.get("usage") or {}))
