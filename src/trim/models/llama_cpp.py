"""A GGUF file as a model, run in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trim.engines.chat_template import ChatTemplate
from trim.engines.llama_cpp import LlamaCppEngine
from trim.models.continuation import Continuation, ThinkingOff
from trim.models.model import Completion, Ending, Prefix, Sampling, Turn
from trim.models.prompt import Prompt, conversation
from trim.models.response import (
    LIKELIEST,
    LLAMA_CPP_ENDINGS,
    Response,
    TokenMemory,
    confidence_in,
    read_answer,
)
from trim.steps import SEPARATOR


class LlamaCppModel:
    """Continues question and steps: as plain text, or behind a chat template.

    Args:
        entropy: fill in `first_entropy` of each step as well as its `log_probability` (see
            `Confidence`). The text is the same; with the shipped models a step takes about
            twice as long, for the engine then sorts its vocabulary at every token.
        template: renders the conversation; None where the model reads plain text.
        prompt: what is read around the question; a system message needs a template.
        thinking_off: how a model that thinks is told not to: `template` or `no_think`.
        adds_begin: whether the engine puts the token that begins a text before a text of its
            own accord (`trim.engines.gguf`).
    """

    continuation = Continuation.COMPLETIONS
    modes = (Continuation.COMPLETIONS,)

    def __init__(
        self,
        engine: LlamaCppEngine,
        name: str,
        entropy: bool = False,
        template: ChatTemplate | None = None,
        prompt: Prompt = Prompt(),  # noqa: B008 - it cannot change
        thinking_off: ThinkingOff | None = None,
        adds_begin: bool = False,
    ) -> None:
        self.engine = engine
        self.name = name
        self.entropy = entropy
        self.template = template
        self.prompt = prompt
        self.thinking_off = thinking_off
        self.adds_begin = adds_begin
        self._memory = TokenMemory()

    def with_mode(self, continuation: Continuation) -> LlamaCppModel:
        """The same model: it has one mode."""
        return self

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        before = self.before(prefix)
        known = self._memory.recall(prefix) or []
        answer = await self.engine.complete(
            # What it has written itself is read as it was written, token by token.
            [before, *known] if known else before + prefix.said,
            n_predict=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=0.0,
            seed=seed,
            stop=[SEPARATOR],
            verbose=True,  # only the verbose record tells a stop string from an end token
            return_tokens=True,
            logprobs=LIKELIEST if self.entropy else 1,
        )
        record = answer.raw["__verbose"]
        ending = LLAMA_CPP_ENDINGS[record["stop_type"]]
        text = answer.text
        if ending is Ending.STEP:
            text = self.engine.spelled(record["tokens"], text + SEPARATOR)
            if known or not prefix.steps:
                self._memory.remember(prefix.then(text), (*known, *record["tokens"]))
        confidence = confidence_in(written_tokens(answer.raw), ending)
        return Completion(
            text=text,
            ending=ending,
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            seconds=answer.seconds,
            log_probability=confidence.log_probability,
            first_entropy=confidence.first_entropy if self.entropy else None,
        )

    async def prefill(self, prefix: Prefix) -> Completion:
        """Read a prefix, so that it is in the engine's cache; one token is written."""
        spent = (await self._complete(self.before(prefix) + prefix.said, 1, 0)).usage
        counts = (spent.tokens, spent.prompt_tokens, spent.cached_tokens)
        return Completion("", Ending.LENGTH, *counts)

    async def go_on(self, question: str, said: str, tokens: int) -> Response:
        """Continue any text, greedily."""
        return await self._complete(self.rendered(self.prompt.asked(question)) + said, tokens, 0)

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer to a single message, greedily."""
        return await self._complete(self.rendered(request), tokens, likeliest)

    async def read_on(self, text: str, likeliest: int) -> Response:
        """The next token after a plain text, without any template, and its rivals."""
        return await self._complete(text, 1, likeliest)

    def before(self, prefix: Prefix) -> str:
        """What the model reads before the steps."""
        asked = self.prompt.asked(prefix.question)
        return self.rendered(asked, prefix.history) + self.prompt.opening(bool(prefix.steps))

    def rendered(self, asked: str, history: Sequence[Turn] = ()) -> str:
        """A conversation up to the assistant's turn; `asked` is the user's newest turn."""
        if self.template is None:
            return Prefix(asked, history=tuple(history)).asked + SEPARATOR
        settings: dict[str, Any] = {}
        if self.thinking_off is ThinkingOff.TEMPLATE:
            settings["enable_thinking"] = False
        if self.thinking_off is ThinkingOff.NO_THINK:
            asked += " /no_think"
        text = self.template.render(conversation(self.prompt.system, history, asked), **settings)
        return text.removeprefix(self.template.begin) if self.adds_begin else text

    async def _complete(self, prompt: str, tokens: int, likeliest: int) -> Response:
        answer = await self.engine.complete(
            prompt, n_predict=tokens, temperature=0.0, verbose=True, logprobs=max(likeliest, 1)
        )
        return read_answer(answer.raw)


def written_tokens(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The written tokens with their probabilities; empty where a step has none."""
    record = raw["choices"][0].get("logprobs") or {}
    return record.get("content") or []
