"""A GGUF file as a model, run in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.gguf import read_chat
from trim.engines.llama_cpp import LlamaCppEngine
from trim.errors import InvalidInput
from trim.models.continuation import Continuation, ThinkingOff, parse_member
from trim.models.model import Completion, Ending, Prefix, Sampling, Turn
from trim.models.prompt import STEP_BY_STEP, Prompt, conversation
from trim.models.response import (
    LIKELIEST,
    LLAMA_CPP_ENDINGS,
    Response,
    TokenMemory,
    confidence_in,
    read_answer,
)
from trim.models.spans import (
    SECOND,
    StopRule,
    TokenDecoder,
    TokenReader,
    first_entropy_of,
    mean_of,
)
from trim.models.usage import Call
from trim.steps import SEPARATOR


class LlamaCppModel:
    """Continues question and steps, as plain text or in a chat template.

    Args:
        engine: GGUF file, loaded here, or an engine that runs one.
        name: name in traces; the file's by default.
        entropy: fill in `first_entropy` of each step as well as `log_probability` (see
            `Confidence`). The text is the same; with the shipped models a step takes about twice as
            long, since the engine sorts its vocabulary at every token.
        template: renders the conversation. True for the file's own chat template, if it has one;
            None for plain text; or a folder of tokenizer files, or a model on the hub.
        prompt: text around the question; a system message needs a template. By default a model
            with a template is asked for steps and a boxed answer (`STEP_BY_STEP`).
        thinking_off: how thinking is disabled: `template` or `no_think`. By default a template of
            the file that can disable it does.
        adds_begin: whether the engine adds the BOS token to a prompt by itself; None for what the
            file says.
        context, threads, slots, exact: of an engine that is made here (`LlamaCppEngine`).

    Raises:
        InvalidInput: the file is missing or damaged, or a system message lacks a template.
        MissingExtra: llama.cpp is not installed.
        ModelUnavailable: llama.cpp cannot load the file.
    """

    continuation = Continuation.COMPLETIONS
    modes = (Continuation.COMPLETIONS,)

    def __init__(
        self,
        engine: LlamaCppEngine | Path | str,
        name: str | None = None,
        *,
        entropy: bool = False,
        template: ChatTemplate | Path | str | bool | None = True,
        prompt: Prompt | None = None,
        thinking_off: ThinkingOff | str | None = None,
        adds_begin: bool | None = None,
        context: int = 4096,
        threads: int = 1,
        slots: int = 4,
        exact: bool = False,
    ) -> None:
        if isinstance(engine, Path | str):
            engine = LlamaCppEngine(engine, slots, context, threads, exact)
        self.engine = engine
        self.name = name or engine.path.stem
        self.entropy = entropy
        self.thinking_off = parse_member(ThinkingOff, thinking_off) if thinking_off else None
        if template is True:
            template = read_chat(engine.path).template
            if template and "enable_thinking" in template.source:
                self.thinking_off = self.thinking_off or ThinkingOff.TEMPLATE
        self.template = (
            read_chat_template(template) if isinstance(template, str | Path) else template or None
        )
        if prompt is None:
            prompt = STEP_BY_STEP if self.template else Prompt()
        if prompt.system and self.template is None:
            raise InvalidInput(
                f"{self.name}: a system message needs a chat template, and the file has none;"
                " leave the system message out, or name a template"
            )
        self.prompt = prompt
        if adds_begin is None:
            adds_begin = self.template is not None and read_chat(engine.path).adds_begin
        self.adds_begin = adds_begin
        self._memory = TokenMemory()

    def with_mode(self, continuation: Continuation) -> LlamaCppModel:
        """The same model: there is one mode only."""
        return self

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        known = self._memory.recall(prefix) or []
        answer = await self.engine.complete(
            self._read(prefix, known),
            **sampled(sampling, seed),
            stop=[SEPARATOR],
            verbose=True,  # only this record distinguishes a stop string from an end token
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

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        """Continue inside a step (`SpanModel`); decoding ends with the text."""
        known = self._memory.recall(prefix) or []
        reader, decoder = TokenReader(prefix.begun, stop), TokenDecoder()

        def read(record: dict[str, Any]) -> bool:
            return any(reader.add(decoder.token(entry)) for entry in written_tokens(record))

        answer = await self.engine.stream(
            self._read(prefix, known),
            read,
            **sampled(sampling, seed),
            # No `stop`: llama.cpp withholds the text of a token that may begin a stop string.
            verbose=True,
            logprobs=LIKELIEST if self.entropy else SECOND,
        )
        ending = reader.ending(answer.raw["__verbose"].get("stop_type"))
        tokens = reader.decoded[:-1] if ending is Ending.SOLUTION else reader.decoded
        text = "".join(token.text for token in tokens)
        ids = [token.id for token in tokens if token.id is not None]
        if (known or not prefix.text) and tokens and tokens[-1].text:
            self._memory.remember(prefix.after(text, ending), (*known, *ids))
        return Completion(
            text=text,
            ending=ending,
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            seconds=answer.seconds,
            log_probability=mean_of(tokens),
            first_entropy=first_entropy_of(reader.tokens) if self.entropy else None,
            decoded=tokens,
            dropped=reader.dropped,
        )

    @property
    def vocabulary(self) -> str:
        """sha256 of the tokens."""
        return self.engine.vocabulary

    async def span_obstacle(self) -> str | None:
        """None: llama.cpp reports tokens and continues anywhere."""
        return None

    async def prefill(self, prefix: Prefix) -> Completion:
        """Read a prefix into the engine's cache; one token is decoded."""
        spent = (await self._complete(self.before(prefix) + prefix.text, 1, 0)).usage
        counts = (spent.tokens, spent.prompt_tokens, spent.cached_tokens)
        return Completion("", Ending.LENGTH, *counts)

    async def continue_text(self, question: str, text: str, tokens: int) -> Response:
        """Continue the beginning of an answer, greedily."""
        message = self.prompt.user_message(question)
        return await self._complete(self.rendered(message) + text, tokens, 0)

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer a single message, greedily."""
        return await self._complete(self.rendered(request), tokens, likeliest)

    async def next_token(self, text: str, likeliest: int, begin: str = "") -> Response:
        """The next token after a plain text, and the likeliest tokens in its place.

        Args:
            begin: BOS token at the beginning of `text`; left out where the engine adds it.
        """
        text = text.removeprefix(begin) if self.adds_begin else text
        return await self._complete(text, 1, likeliest)

    def _read(self, prefix: Prefix, known: Sequence[int]) -> str | list[str | int]:
        """The prompt; the model reads its own steps as the very tokens that it decoded."""
        before = self.before(prefix)
        return [before, *known] if known else before + prefix.text

    def before(self, prefix: Prefix) -> str:
        """The prompt before the steps."""
        asked = self.prompt.user_message(prefix.question)
        return self.rendered(asked, prefix.history) + self.prompt.opening(bool(prefix.steps))

    def rendered(self, asked: str, history: Sequence[Turn] = ()) -> str:
        """A conversation up to the assistant's message; `asked` is the user's newest one."""
        if self.template is None:
            return Prefix(asked, history=tuple(history)).full_question + SEPARATOR
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
        return read_answer(answer.raw, Call(self.name, prompt))


def sampled(sampling: Sampling, seed: int) -> dict[str, Any]:
    """The fields of a request that say how to sample."""
    return {
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "seed": seed,
    }


def written_tokens(raw: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The decoded tokens with their log-probabilities; empty where a step has none."""
    record = raw["choices"][0].get("logprobs") or {}
    return record.get("content") or []
