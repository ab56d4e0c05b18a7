"""A model behind OpenAI's protocol: vLLM, SGLang, llama.cpp's server, TGI, hosted APIs."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.errors import ContextExceeded, InvalidInput, Refused, TrimError
from trim.models.continuation import (
    OTHER,
    Continuation,
    Dialect,
    ThinkingOff,
    find_dialect,
    first_step,
    parse_member,
    request,
    without_repeated,
)
from trim.models.discovery import (
    Once,
    connect,
    discover,
    find_template,
    find_vocabulary,
    only_model,
)
from trim.models.model import Completion, Ending, Prefix, Sampling, Turn
from trim.models.probe import HALF, QUESTION, TOKENS, drops, working_choices
from trim.models.prompt import STEP_BY_STEP, Prompt, conversation
from trim.models.response import (
    LIKELIEST,
    Response,
    TokenMemory,
    first_entropy,
    mean_log_probability,
    read_answer,
    require_ids,
    require_text,
)
from trim.models.spans import SECOND, StopRule, TokenReader, first_entropy_of, mean_of
from trim.models.stream import SpanStream, TextStream
from trim.models.usage import Call
from trim.models.whole import OnText, Pieces, WholeRequest
from trim.steps import SEPARATOR, with_rest

Answer = TypeVar("Answer")

LONGEST = 32_768
"""Tokens of a whole answer in the mode `completions`, where servers write 16 unless told."""

WHOLE: Mapping[str, Any] = {"stream": True, "verbose": None, "return_tokens": None}
"""Fields of a whole answer; llama.cpp's verbose record would be large in each chunk."""
QUOTED = "the mode user_turn quotes the text in a question, and cannot continue inside a step"
TRIMMED = (
    "its chat template drops white space at the end of a text; use the mode completions, with"
    " template: the folder of its tokenizer"
)


class OpenAIModel:
    """Continues a solution on a server with OpenAI's protocol.

    What is not given is found by the first request, once: the kind of server by its own signs, the
    model's name where the server has only one, and the continuation by having the model continue
    half a sentence in each mode that this kind of server may take, the best first. The tokens of
    these trials are not counted.

    Args:
        server: URL, as `http://localhost:8000/v1`, or client of the server.
        model: the server's name of the model; None for its only one.
        continuation: how the model is made to continue a text.
        dialect: the kind of server, one of `trim.models.continuation.DIALECTS` or its name.
        name: name in traces; the model's by default.
        template: the model's chat template, for `completions`: a folder of tokenizer files, or a
            model on the hub. Without one, `completions` sends question and steps as plain text.
        prompt: text around the question. By default a model that reads chats is asked for steps
            and a boxed answer (`STEP_BY_STEP`), and any other gets the bare question.
        thinking_off: how thinking is disabled; None leaves it as it is, unless a continuation is
            looked for and the model thinks first.
        log_probabilities: request the log-probability of each step; None where that is free, or
            where a trial returns it.
        entropy: request `first_entropy` of each step as well.
        token_ids: send token ids instead of text where the model continues its own steps and the
            server takes them (`completions` on vLLM and llama.cpp).
        extra_body: fields of each request, over all others; None leaves a field out.
        key: API key.
        key_variable: environment variable that holds it; a hosted API's own by default.

    Attributes:
        continuation, dialect: `user_turn` and `other` until they are found.
        vocabulary: fingerprint of the vocabulary, found with `span_obstacle`; None while it is
            unknown, and where the server does not tokenize.

    Raises:
        InvalidInput: the server does not take the continuation, a system message lacks a chat
            template, or a key or a template is missing.
    """

    def __init__(
        self,
        server: HttpServer | str,
        model: str | None = None,
        *,
        continuation: Continuation | str | None = None,
        dialect: Dialect | str | None = None,
        name: str | None = None,
        template: ChatTemplate | Path | str | None = None,
        prompt: Prompt | None = None,
        thinking_off: ThinkingOff | str | None = None,
        log_probabilities: bool | None = None,
        entropy: bool = False,
        token_ids: bool = True,
        extra_body: Mapping[str, Any] | None = None,
        key: str | Key | None = None,
        key_variable: str | None = None,
    ) -> None:
        self.server = connect(server, key, key_variable)
        self.model = model or ""
        self.name = name or model or self.server.name
        self.continuation = parse_member(Continuation, continuation or Continuation.USER_TURN)
        self.dialect = find_dialect(dialect) if isinstance(dialect, str) else dialect or OTHER
        self.template = (
            read_chat_template(template) if isinstance(template, str | Path) else template
        )
        self.thinking_off = parse_member(ThinkingOff, thinking_off) if thinking_off else None
        self.entropy = entropy
        self.extra_body = dict(extra_body or {})
        self._prompt_given = prompt
        self._log_probabilities = log_probabilities
        self._token_ids = token_ids
        self._owns_server = isinstance(server, str)
        self.vocabulary: str | None = None
        self._span_obstacle: str | None = None
        self._memory = TokenMemory()
        self._spellings: dict[int, str] = {}
        self._any_dialect, self._any_mode = dialect is None, continuation is None
        self._identify = Once(self._find_server, done=bool(model and dialect))
        self._connect = Once(self._find_mode, done=bool(model and dialect and continuation))
        self._try_spans = Once(self._try_span)
        if not self._any_mode:
            self._require_mode()

    @property
    def prompt(self) -> Prompt:
        """The text around the question."""
        if self._prompt_given is not None:
            return self._prompt_given
        plain = self.continuation is Continuation.COMPLETIONS and self.template is None
        return Prompt() if plain else STEP_BY_STEP

    @property
    def log_probabilities(self) -> bool:
        """Whether each step comes with its log-probability."""
        free = self.dialect.log_probabilities
        given = self._log_probabilities
        return self.entropy or (free if given is None else given)

    @property
    def token_ids(self) -> bool:
        """Whether token ids are sent instead of text, where they are known."""
        return self._token_ids and self.continuation is Continuation.COMPLETIONS

    @property
    def modes(self) -> tuple[Continuation, ...]:
        """The continuations that may work, the best first."""
        plain = self.template is None and self.continuation is not Continuation.COMPLETIONS
        lacking = {Continuation.COMPLETIONS} if plain else set()
        return tuple(mode for mode in self.dialect.modes if mode not in lacking)

    @property
    def adds_begin(self) -> bool:
        """Whether the server adds the BOS token to a plain text."""
        return self.dialect.adds_begin or self.dialect.name == "vllm"

    def with_mode(self, continuation: Continuation) -> OpenAIModel:
        """The same model with another continuation."""
        return self._variant(continuation, self.template, self.thinking_off)

    async def connect(self) -> None:
        """Find what was not given, as the first request does.

        Raises:
            InvalidInput: the model is one of several, or no continuation works.
            ModelUnavailable: the server does not answer, or rejects the key.
        """
        await self._connect()

    def _variant(
        self,
        continuation: Continuation,
        template: ChatTemplate | None,
        thinking_off: ThinkingOff | None,
    ) -> OpenAIModel:
        return OpenAIModel(
            self.server,
            self.model,
            continuation=continuation,
            dialect=self.dialect,
            name=self.name,
            template=template,
            prompt=self._prompt_given,
            thinking_off=thinking_off,
            log_probabilities=self._log_probabilities,
            entropy=self.entropy,
            token_ids=self._token_ids,
            extra_body=self.extra_body,
        )

    def _require_mode(self) -> None:
        """Raises InvalidInput where the continuation cannot work."""
        if not self._any_dialect and self.continuation not in self.dialect.modes:
            raise InvalidInput(
                f"{self.server.name}: servers of the kind {self.dialect.name!r} do not take the"
                f" mode {self.continuation.value!r}; they take {', '.join(self.dialect.modes)}"
            )
        plain = self.continuation is Continuation.COMPLETIONS and self.template is None
        if plain and self.prompt.system:
            raise InvalidInput(
                f"{self.name}: a system message needs a chat template; name the tokenizer's folder"
            )

    async def _find_server(self) -> None:
        found = await discover(self.server)
        self.model = self.model or only_model(found, self.server.url, "model=NAME")
        if self._any_dialect:
            self.dialect = find_dialect(found.kind)
            self._any_dialect = False
        if self._owns_server and found.slots:
            # Of llama.cpp's server each kept connection takes a thread.
            await self.server.limit(found.slots)

    async def _find_mode(self) -> None:
        await self._identify()
        if not self._any_mode:
            self._require_mode()
            return
        template = self.template or await find_template(self.server, self.dialect, self.model)
        try:
            working = await working_choices(
                self._variants(template), lambda model: model, OpenAIModel._without_thinking
            )
        except InvalidInput as error:
            raise InvalidInput(
                f"{self.name}: {error}; pass continuation=, and for 'completions' template= with"
                " the folder of its tokenizer"
            ) from error
        # Unclear for all: the last one assumes least of the model.
        found = working[-1]
        self.continuation, self.template = found.continuation, found.template
        self.thinking_off = found.thinking_off
        self._any_mode = False
        if self._log_probabilities is None and not self.dialect.log_probabilities:
            self._log_probabilities = await self._returns_log_probabilities()

    async def _returns_log_probabilities(self) -> bool:
        """Whether the server returns log-probabilities on request."""
        model = self.with_mode(self.continuation)
        model._log_probabilities = True
        try:
            step = await model.write_step(Prefix("What is 1 + 1?"), Sampling(max_tokens=8), 0)
        except TrimError:
            return False
        return step.log_probability is not None

    def _variants(self, template: ChatTemplate | None) -> Iterator[OpenAIModel]:
        """The model with each continuation, the best first.

        Plain text comes last: a model that was trained on chats continues it too, only worse.
        """
        for mode in self.dialect.modes:
            if mode is not Continuation.COMPLETIONS:
                yield self._variant(mode, self.template, self.thinking_off)
            elif template:
                switched = "enable_thinking" in template.source
                off = self.thinking_off or (ThinkingOff.TEMPLATE if switched else None)
                yield self._variant(mode, template, off)
        system = self._prompt_given.system if self._prompt_given else None
        if Continuation.COMPLETIONS in self.dialect.modes and not (self.template or system):
            yield self._variant(Continuation.COMPLETIONS, None, self.thinking_off)

    def _without_thinking(self) -> OpenAIModel | None:
        if self.thinking_off or not self.dialect.thinking_off:
            return None
        return self._variant(self.continuation, self.template, self.dialect.thinking_off)

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        started = time.perf_counter()
        await self._connect()
        solution, opening = prefix.text, self.prompt.opening(bool(prefix.steps))
        body = {**self._sampled(sampling, seed), "stop": [SEPARATOR]}
        if self.log_probabilities:
            body |= self._log_probability_fields(LIKELIEST if self.entropy else 1)
        body |= await self._prompt(prefix)
        answer = await self._ask(body)
        spent = answer.usage
        text = self._continued(answer.text, solution, opening)
        if not text.strip() and solution and self.continuation is Continuation.USER_TURN:
            # The answer only repeats the quoted steps; without a stop it reaches the next one.
            answer = await self._ask({**body, "stop": None})
            spent += answer.usage
            text = self._continued(answer.text, solution)
        step = self._first_step(text)
        ending = self._ending(answer, text, solution)
        whole = step
        if ending is Ending.STEP:
            whole = step + SEPARATOR
            if not text.partition(SEPARATOR)[2].strip():
                whole = await self._spelled(answer, whole)
                after = prefix.then(whole)
                self._remember(prefix, after, body, answer.prompt_ids, answer.written_ids)
        return Completion(
            text=whole,
            ending=ending,
            tokens=spent.tokens,
            prompt_tokens=spent.prompt_tokens,
            cached_tokens=spent.cached_tokens,
            seconds=time.perf_counter() - started,
            log_probability=mean_log_probability(answer.tokens, step),
            first_entropy=first_entropy(answer.tokens, step) if self.entropy else None,
        )

    async def write_span(
        self, prefix: Prefix, sampling: Sampling, seed: int, stop: StopRule | None = None
    ) -> Completion:
        """Continue inside a step (`SpanModel`).

        Where the server streams (`Dialect.streams`), decoding ends with the text; elsewhere the
        server decodes the rest of the step, and what follows the text is dropped.

        Raises:
            InvalidInput: the mode is `user_turn`.
            Refused: the server returns no log-probabilities.
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        started = time.perf_counter()
        await self._connect()
        if self.continuation is Continuation.USER_TURN:
            raise InvalidInput(f"{self.name} cannot write inside a step: {QUOTED}")
        body = {
            **self._sampled(sampling, seed),
            **self._log_probability_fields(LIKELIEST if self.entropy else SECOND),
            **await self._prompt(prefix, tokenize=not prefix.text),
            **(self.dialect.streams or {"stop": [SEPARATOR]}),
        }
        reader = TokenReader(prefix.begun, stop)
        call = Call(self.server.name, body)
        span = SpanStream(reader, sampling.max_tokens, bool(body.get("stop")), call)
        if self.dialect.streams:
            read = partial(self.server.read_events, read=span.read, keep=self.dialect.keeps)
            await self._fitted(body, read)
        else:
            self._read_whole(span, prefix, await self._ask(body))
        tokens = span.decoded
        text = "".join(token.text for token in tokens)
        if tokens and tokens[-1].text:  # else a character is incomplete
            ids = [token.id for token in tokens if token.id is not None]
            after = prefix.after(text, span.ending)
            self._remember(prefix, after, body, span.prompt_ids, ids)
        return Completion(
            text=text,
            ending=span.ending,
            tokens=span.usage.tokens,
            prompt_tokens=span.usage.prompt_tokens,
            cached_tokens=span.usage.cached_tokens,
            seconds=time.perf_counter() - started,
            log_probability=mean_of(tokens),
            first_entropy=first_entropy_of(reader.tokens) if self.entropy else None,
            decoded=tokens,
            dropped=reader.dropped,
        )

    def _read_whole(self, span: SpanStream, prefix: Prefix, answer: Response) -> None:
        """Read an answer that was not streamed."""
        text = self._continued(answer.text, prefix.text, self.prompt.opening(bool(prefix.steps)))
        ending = self._ending(answer, text, prefix.text)
        if answer.ending is None and prefix.begun and not text:
            ending = Ending.STEP  # the blank line, which the server leaves out
        span.read_whole(answer, text, ending)

    async def write_whole(self, request: WholeRequest, on_text: OnText) -> Completion:
        """Write a whole answer in one streamed request (`WholeModel`); nothing is quoted.

        The stream may end at the problem's deadline; the ending is then `LENGTH`.

        Raises:
            Refused: something else stopped the model, such as a content filter.
            ContextExceeded, ModelUnavailable: see `HttpServer.read_events`.
        """
        started = time.perf_counter()
        await self._connect()
        prompt = self.prompt if request.prompted else Prompt()
        asked = prompt.user_message(request.question)
        opening = "" if self.continuation is Continuation.USER_TURN else prompt.opening(steps=False)
        plain = self.continuation is Continuation.COMPLETIONS
        limit = request.limit or (LONGEST if plain else None)
        body = {
            **self._sampled(request.sampling, request.seed),
            self.dialect.limit: limit,
            **self._text(asked, "", request.history, opening, prompt),
            **WHOLE,
            "stream_options": None if self.dialect.counts_streams else {"include_usage": True},
            "stop": list(request.stops) or None,
        }
        stream = TextStream(Pieces(request, on_text), Call(self.server.name, body))
        read = partial(self.server.read_events, read=stream.read, keep=self.dialect.keeps)
        try:
            await self._fitted(body, read)
        except ContextExceeded:
            if request.limit is not None or not plain or stream.pieces.count:
                raise
            # The server does not say how long the answer may be.
            await self._fitted({**body, self.dialect.limit: request.sampling.max_tokens}, read)
        return stream.completion(time.perf_counter() - started)

    async def span_obstacle(self) -> str | None:
        """Why the model cannot write inside steps, as a clause; None if it can.

        Found by a trial request once, of which the tokens are not counted.

        Raises:
            InvalidInput, ModelUnavailable: as `connect`.
        """
        if self._any_mode or self.continuation is not Continuation.USER_TURN:
            await self._connect()
        if self.continuation is Continuation.USER_TURN:
            return QUOTED
        await self._try_spans()
        return self._span_obstacle

    async def _try_span(self) -> None:
        half = Prefix(QUESTION, begun=HALF)
        try:
            await self.write_span(half, Sampling(0.0, 1.0, 0, TOKENS), 0)
        except Refused as error:
            self._span_obstacle = str(error)
            return
        if self.continuation is not Continuation.COMPLETIONS and await drops(self, " \n"):
            self._span_obstacle = TRIMMED
            return
        self.vocabulary = await find_vocabulary(self.server, self.dialect, self.model)

    async def prefill(self, prefix: Prefix) -> Completion:
        """Have the server read a prefix into its cache; one token is decoded.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        await self._connect()
        body = self._sampled(Sampling(0.0, 1.0, 0, 1), 0)
        spent = (await self._ask({**body, **await self._prompt(prefix)})).usage
        counts = (spent.tokens, spent.prompt_tokens, spent.cached_tokens)
        return Completion("", Ending.LENGTH, *counts)

    async def continue_text(self, question: str, text: str, tokens: int) -> Response:
        """Continue the beginning of an answer, greedily and without a stop string."""
        await self._connect()
        body = self._sampled(Sampling(0.0, 1.0, 0, tokens), 0)
        answer = await self._ask({**body, **self._text(self.prompt.user_message(question), text)})
        return replace(answer, text=self._continued(answer.text, text))

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer a single message, greedily.

        Args:
            likeliest: tokens whose log-probabilities are requested at each place; 0 for none.
        """
        await self._connect()
        body = self._sampled(Sampling(0.0, 1.0, 0, tokens), 0)
        if likeliest:
            body |= self._log_probability_fields(likeliest)
        return await self._ask({**body, **self._text(request, "")})

    async def next_token(self, text: str, likeliest: int, begin: str = "") -> Response:
        """The next token after a plain text, and the likeliest tokens in its place.

        Args:
            begin: BOS token at the beginning of `text`; left out where the server adds it.
        """
        await self._identify()
        text = text.removeprefix(begin) if self.adds_begin else text
        body = {**self._sampled(Sampling(0.0, 1.0, 0, 1), 0), "logprobs": likeliest}
        return await self._ask({**body, "prompt": text})

    async def _ask(self, body: Mapping[str, Any]) -> Response:
        read = partial(read_answer, call=Call(self.server.name, body))
        return await self._fitted(body, partial(self.server.post, read=read))

    async def _fitted(
        self, body: Mapping[str, Any], send: Callable[[str, Mapping[str, Any]], Awaitable[Answer]]
    ) -> Answer:
        """Send a request, and once more if the context holds the prompt, but not its limit."""
        path = "/completions" if "prompt" in body else "/chat/completions"
        whole = {"model": self.model, **self.dialect.fields, **body, **self.extra_body}
        try:
            return await send(path, whole)
        except ContextExceeded as error:
            limit = self.dialect.limit
            if not error.room or error.room <= 0 or error.room >= (whole.get(limit) or 0):
                raise
            # The prompt fits; some servers want the longest answer to fit as well.
            return await send(path, {**whole, limit: error.room})

    async def _prompt(self, prefix: Prefix, tokenize: bool = True) -> dict[str, Any]:
        """The fields with the prompt, as token ids where they are known.

        Args:
            tokenize: have the server tokenize a prompt whose tokens are not known.
        """
        opening = self.prompt.opening(bool(prefix.steps))
        asked = self.prompt.user_message(prefix.question)
        fields = self._text(asked, prefix.text, prefix.history, opening)
        if not self.token_ids or not (self.dialect.returned_ids or self.dialect.tokenizes):
            return fields
        tokens = self._memory.recall(prefix)
        if tokens is None and self.dialect.tokenizes and tokenize:
            request = {"content": fields["prompt"], "add_special": True, "parse_special": True}
            tokens = await self.server.post(
                "//tokenize", request, lambda raw: list(require_ids(raw["tokens"]))
            )
        if tokens:
            fields["prompt"] = tokens
        if self.dialect.returned_ids:
            fields[self.dialect.returned_ids] = True
        return fields

    def _text(
        self,
        asked: str,
        solution: str,
        history: Sequence[Turn] = (),
        opening: str = "",
        prompt: Prompt | None = None,
    ) -> dict[str, Any]:
        """The fields with the user's message and the solution so far, as text.

        Args:
            prompt: whose system message is sent; None for the model's own.
        """
        system = (prompt or self.prompt).system
        if self.continuation is Continuation.COMPLETIONS:
            return self._rendered(asked, opening + solution, history, system)
        if self.continuation is Continuation.USER_TURN:
            messages = self._messages(request(asked, solution), history, system)
            begun = solution
        else:
            begun = opening + solution
            messages = self._messages(asked, history, system)
            if begun:
                messages.append({"role": "assistant", "content": begun})
        fields: dict[str, Any] = {"messages": messages}
        if begun and self.continuation is Continuation.PREFIX:
            messages[-1]["prefix"] = True
        if begun and self.continuation is Continuation.CONTINUE_FINAL:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        match self.thinking_off:
            case ThinkingOff.TEMPLATE:
                fields["chat_template_kwargs"] = {"enable_thinking": False}
            case ThinkingOff.DISABLED:
                fields["thinking"] = {"type": "disabled"}
            case ThinkingOff.EFFORT:
                fields["reasoning_effort"] = "none"
        return fields

    def _rendered(
        self, asked: str, begun: str, history: Sequence[Turn], system: str | None
    ) -> dict[str, Any]:
        if self.template is None:
            return {
                "prompt": Prefix(asked, history=tuple(history)).full_question + SEPARATOR + begun
            }
        settings: dict[str, Any] = {}
        if self.thinking_off is ThinkingOff.TEMPLATE:
            settings["enable_thinking"] = False
        text = self.template.render(self._messages(asked, history, system), **settings)
        if self.dialect.adds_begin:
            text = text.removeprefix(self.template.begin)
        fields: dict[str, Any] = {"prompt": text + begun}
        if self.dialect.name == "vllm":
            fields["add_special_tokens"] = False
        return fields

    def _messages(
        self, asked: str, history: Sequence[Turn], system: str | None
    ) -> list[dict[str, Any]]:
        if self.thinking_off is ThinkingOff.NO_THINK:
            asked += " /no_think"
        return conversation(system, history, asked)

    def _sampled(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "temperature": sampling.temperature,
            self.dialect.limit: sampling.max_tokens,
        }
        # Greedy decoding knows no top-p, and some servers refuse any other than 1 with it.
        top_p = sampling.top_p if sampling.temperature else 1.0
        if top_p < 1 or self.dialect.whole_top_p:
            fields["top_p"] = top_p
        if self.dialect.top_k:
            fields["top_k"] = sampling.top_k or self.dialect.all_tokens
        if self.dialect.seed:
            fields[self.dialect.seed] = seed
        return fields

    def _log_probability_fields(self, likeliest: int) -> dict[str, Any]:
        if self.continuation is Continuation.COMPLETIONS:
            return {"logprobs": likeliest}
        return {"logprobs": True, "top_logprobs": likeliest}

    def _continued(self, text: str, solution: str, opening: str = "") -> str:
        """An answer without its repetition of `opening` and `solution`."""
        if self.continuation is Continuation.USER_TURN:
            return without_repeated(solution, text)
        sent = opening + solution
        kept = sent.rstrip()
        echoed = self.dialect.echoes and self.continuation is not Continuation.COMPLETIONS
        if echoed and kept and text.startswith(kept):
            return text.removeprefix(sent) if text.startswith(sent) else text.removeprefix(kept)
        return text

    def _first_step(self, text: str) -> str:
        """A step without its blank line.

        A chat template may have trimmed the blank line before it; the model then begins with it.
        """
        if self.continuation is Continuation.COMPLETIONS:
            return text.partition(SEPARATOR)[0]
        return first_step(text)

    async def _spelled(self, answer: Response, beginning: str) -> str:
        """The whole step where the server cuts it at the stop string: the rest of the last token
        belongs to it."""
        spelled = "".join(token.text for token in answer.tokens)
        if spelled.startswith(beginning):
            return spelled
        if not (self.token_ids and self.dialect.tokenizes and answer.written_ids):
            return beginning
        # The stop string may begin in the token before the last one, and ends in the last.
        end = [await self._spelling(token) for token in answer.written_ids[-2:]]
        return with_rest(beginning, "".join(end))

    async def _spelling(self, token: int) -> str:
        """The text of one token, requested once."""
        if token not in self._spellings:
            body = {"tokens": [token]}
            self._spellings[token] = await self.server.post(
                "//detokenize", body, lambda raw: require_text(raw["content"])
            )
        return self._spellings[token]

    def _ending(self, answer: Response, text: str, solution: str) -> Ending:
        """Why the step ended; where the server does not report it, an empty text is the end."""
        plain = self.continuation is Continuation.COMPLETIONS
        if SEPARATOR in (text if plain else text.strip("\n")):
            return Ending.STEP
        if answer.ending is Ending.LENGTH:
            return Ending.LENGTH
        asked_for_one = solution and self.continuation is Continuation.USER_TURN
        if answer.ending is None or asked_for_one:
            return Ending.STEP if text.strip() else Ending.SOLUTION
        return answer.ending

    def _remember(
        self,
        prefix: Prefix,
        after: Prefix,
        body: Mapping[str, Any],
        prompt_ids: Sequence[int],
        written_ids: Sequence[int],
    ) -> None:
        """Remember the tokens of `after`, unless the next prompt begins otherwise.

        Args:
            prefix: that of the request.
        """
        opening = self.prompt.opening
        if not self.token_ids or opening(bool(prefix.steps)) != opening(steps=True):
            return
        read = prompt_ids or body.get("prompt")
        if written_ids and not isinstance(read, str | None):
            self._memory.remember(after, (*read, *written_ids))
