"""A process reward model that marks each step at a tag, served by vLLM's `/pooling`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.errors import ContextExceeded, InvalidInput
from trim.models.continuation import OTHER
from trim.models.discovery import Once, connect, discover, find_template, only_model
from trim.models.model import Completion, Prefix
from trim.models.usage import Call, usage_of
from trim.numerics import sigmoid
from trim.scorers.scorer import Scores, require_scores
from trim.steps import bare
from trim.types import Usage

TAG = "<extra_0>"
"""Tag after each step, for Qwen2.5-Math-PRM."""
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""The system message that Qwen2.5-Math-PRM was trained with."""
REMEMBERED = 1000
"""Problems whose traces were too long, at most; the earliest is forgotten first."""
SHARE = 0.9
"""Share of the limit to which a trace of estimated length is cut."""


@dataclass(frozen=True)
class Pooled:
    """One response: a row of class probabilities for each tag, and the tokens read."""

    rows: tuple[tuple[float, ...], ...]
    usage: Usage


class PoolingScorer:
    """Scores a step by the probability of class 1 at the tag after it.

    A trace longer than the reward model's limit loses its earliest steps, whole ones, until it
    fits; `Scores.unread_steps` counts them. Tokens of requests that turn out too long count as
    well, where the server reports them.

    Args:
        server: URL or client of a vLLM server with `--runner pooling` (`--task reward` before
            version 0.11) and a step tag in its pooler configuration.
        model: the server's name of the reward model; None for its only one.
        template: the reward model's chat template, a folder of tokenizer files, or a model on the
            hub; None has the first request look for one under the model's name.
        name: name in traces; the model's by default.
        tag: text after each step at which the model scores.
        system: the system message; None for none.
        limit: maximum tokens of a trace; None for the server's own limit.
        logits: the server returns logits, as with `use_activation: false`.
        extra_body: fields of each request, as `{"task": "token_classify"}`; None leaves one out.
        key: API key.
        key_variable: environment variable that holds it.
    """

    reads_confidence = False

    def __init__(
        self,
        server: HttpServer | str,
        model: str | None = None,
        *,
        template: ChatTemplate | Path | str | None = None,
        name: str | None = None,
        tag: str = TAG,
        system: str | None = SYSTEM,
        limit: int | None = 4096,
        logits: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        key: str | Key | None = None,
        key_variable: str | None = None,
    ) -> None:
        self.server = connect(server, key, key_variable)
        self.model = model or ""
        self.name = name or model or self.server.name
        if limit is not None and limit < 1:
            raise InvalidInput(f"{self.name}: limit {limit} must be at least 1 token")
        self.template = (
            read_chat_template(template) if isinstance(template, str | Path) else template
        )
        self._connect = Once(self._find_model, done=bool(model and template))
        self.tag = tag
        self.system = system
        self.limit = limit
        self.logits = logits
        self.extra_body = dict(extra_body or {})
        self._densities: dict[str, float] = {}

    async def score(self, trace: Prefix, written: Sequence[Completion]) -> Scores:
        """Score the newest steps.

        Raises:
            InvalidInput: the server returns another number of scores than steps.
            ContextExceeded: the newest step alone is too long.
            ModelUnavailable: see `HttpServer.post`; or scores stay outside [0, 1].
        """
        started = time.perf_counter()
        await self._connect()
        spent = Usage()
        text = whole = self.rendered(trace.full_question, trace.steps)
        most = len(trace.steps) - len(written)
        # Of a problem whose trace was too long before: other problems say nothing about this one.
        density = self._densities.get(trace.full_question)
        unread = min(self._estimate(trace, len(whole), density), most)
        while True:
            rest = trace.steps[unread:]
            if unread:
                text = self.rendered(trace.full_question, rest)
            try:
                pooled = await self._ask(text, len(rest))
            except ContextExceeded:
                pooled = None
            if pooled:
                spent += pooled.usage
                density = pooled.usage.prompt_tokens / len(text)
                if self.limit is None or pooled.usage.prompt_tokens <= self.limit:
                    break
                self._remember(trace.full_question, density)
            if len(rest) <= len(written):
                raise ContextExceeded(
                    f"{self.name}: question and newest step do not fit the reward model's"
                    f" {self.limit or 'own'} tokens; shorten the problem"
                )
            unread = max(unread + 1, min(self._estimate(trace, len(whole), density), most))
        values = require_scores([self._value(row) for row in pooled.rows])
        seconds = time.perf_counter() - started
        return Scores.of(values[-len(written) :], spent, seconds, unread)

    def _remember(self, question: str, density: float) -> None:
        self._densities[question] = density
        if len(self._densities) > REMEMBERED:
            del self._densities[next(iter(self._densities))]

    async def _find_model(self) -> None:
        if not self.model:
            found = await discover(self.server)
            self.model = only_model(found, self.server.url, "model=NAME")
        if self.template is None:
            self.template = await find_template(self.server, OTHER, self.model)
        if self.template is None:
            raise InvalidInput(
                f"{self.name}: no chat template found; pass template= with the folder of the reward"
                " model's tokenizer, or its name on the hub"
            )

    def rendered(self, question: str, steps: Sequence[str]) -> str:
        """The text that the reward model reads, with the tag after every step.

        Tags in the steps themselves are removed, since the model would score them as well.
        """
        if self.template is None:
            raise InvalidInput(f"{self.name}: the chat template is not known before a request")
        messages = [{"role": "system", "content": self.system}] if self.system else []
        plain = (bare(step.replace(self.tag, "")) for step in steps)
        messages += [
            {"role": "user", "content": question.replace(self.tag, "")},
            {"role": "assistant", "content": "".join(step + self.tag for step in plain)},
        ]
        return self.template.render(messages, add_generation_prompt=False)

    def _estimate(self, trace: Prefix, length: int, density: float | None) -> int:
        """How many of the earliest steps to leave out of a trace of `length` rendered characters;
        0 where it is likely to fit.

        Args:
            density: tokens per character of a part of it; None if unknown.
        """
        if self.limit is None or not density:
            return 0
        room = self.limit / density
        if length <= room:
            return 0
        for unread in range(1, len(trace.steps)):
            if len(self.rendered(trace.full_question, trace.steps[unread:])) <= SHARE * room:
                return unread
        return len(trace.steps) - 1

    async def _ask(self, text: str, steps: int) -> Pooled:
        body = {"model": self.model, "input": text, **self.extra_body}

        def read(raw: Any) -> Pooled:
            pooled = read_pooled(raw, Call(self.server.name, text))
            if len(pooled.rows) != steps:
                raise InvalidInput(
                    f"{self.name}: {len(pooled.rows)} scores for {steps} steps; the server's"
                    f" step_tag_id must be the token {self.tag!r}, and it must not cut prompts"
                )
            require_scores([self._value(row) for row in pooled.rows])
            return pooled

        return await self.server.post("//pooling", body, read)

    def _value(self, row: Sequence[float]) -> float:
        """The probability of the last class: a right step."""
        if not self.logits:
            return row[-1]
        odds = row[-1] - row[0] if len(row) == 2 else row[-1]
        return sigmoid(odds)


def read_pooled(raw: Mapping[str, Any], call: Call) -> Pooled:
    """Parse the response of any version of vLLM to a call.

    The rows are `data[0].data`, in older versions `data[0].embedding`; a row is a list of class
    probabilities, a list of one, or a bare number.

    Raises:
        LookupError, TypeError, ValueError: the response is incomplete or malformed.
    """
    (entry,) = raw["data"]
    rows = entry["data"] if "data" in entry else entry["embedding"]
    if not isinstance(rows, list):
        raise ValueError("the rows are not a list")
    listed = tuple(tuple(row) if isinstance(row, list) else (row,) for row in rows)
    if not all(listed):
        raise ValueError("a row is empty")
    return Pooled(listed, usage_of(raw["usage"], call, written=0))
