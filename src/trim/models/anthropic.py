"""A model behind Anthropic's Messages API."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.errors import InvalidInput
from trim.models.continuation import Continuation, parse_member, request, without_repeated
from trim.models.discovery import SERVICES, Once, connect
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.probe import working_choices
from trim.models.prompt import Prompt, conversation
from trim.models.response import Response, require_text, stopped
from trim.models.usage import Call, tokens_in, usage_of_message
from trim.models.whole import OnText, Pieces, WholeRequest, WholeStream
from trim.steps import SEPARATOR, bare
from trim.types import Usage

ADDRESS = SERVICES["anthropic"].url
BEGIN, END = "<step>", "</step>"
"""Marks around each step: this API takes no blank stop string and no prefix that ends with a
blank, hence a blank line cannot end a step."""
INSTRUCTION = (
    "Solve the problem in short steps. Write every step between <step> and </step>. The last"
    " step holds the final answer in \\boxed{}; write nothing after it."
)
ENDINGS = {
    "stop_sequence": Ending.STEP,
    "end_turn": Ending.SOLUTION,
    "max_tokens": Ending.LENGTH,
    "model_context_window_exceeded": Ending.LENGTH,
}


PROTOCOL: dict[str, Any] = {
    "key_header": ("x-api-key", ""),
    "headers": {"anthropic-version": "2023-06-01"},
}
"""What `HttpServer` has to send besides the body."""


def anthropic_server(key: Key | None, url: str = ADDRESS, **settings: Any) -> HttpServer:
    """The client for an `AnthropicModel`; `settings` are those of `HttpServer`."""
    return HttpServer(url, key, **PROTOCOL, **settings)


class AnthropicModel:
    """Continues a solution over the Messages API.

    Requests set temperature and top-k: newer models take temperature or top-p, not both. There is
    no seed, so a step is not repeatable. The API returns no log-probabilities. Thinking is off
    unless `extra_body` switches it on.

    Args:
        model: the API's name of the model.
        server: URL of the API, or a client of it (`anthropic_server`).
        continuation: `prefill` for models up to Claude 4.5, or `user_turn` for all; None has the
            first request find one that works, as `OpenAIModel` does.
        name: name in traces; the model's by default.
        prompt: text around the question. Its system message comes before the instruction that asks
            for steps; the beginning of the assistant's message is left out.
        extra_body: fields of each request, over all others; None leaves a field out.
        key: API key.
        key_variable: environment variable that holds it; `ANTHROPIC_API_KEY` by default.

    Attributes:
        continuation: `user_turn` until it is found.
    """

    modes = (Continuation.PREFILL, Continuation.USER_TURN)

    def __init__(
        self,
        model: str,
        server: HttpServer | str = ADDRESS,
        *,
        continuation: Continuation | str | None = None,
        name: str | None = None,
        prompt: Prompt = Prompt(),  # noqa: B008 - it cannot change
        extra_body: Mapping[str, Any] | None = None,
        key: str | Key | None = None,
        key_variable: str | None = None,
    ) -> None:
        self.server = connect(server, key, key_variable, **PROTOCOL)
        self.model = model
        self.continuation = parse_member(Continuation, continuation or Continuation.USER_TURN)
        if self.continuation not in self.modes:
            raise InvalidInput(
                f"{self.server.name}: Anthropic's API does not take the mode"
                f" {self.continuation.value!r}; it takes {', '.join(self.modes)}"
            )
        self._connect = Once(self._find_mode, done=continuation is not None)
        self.name = name or model
        self.prompt = prompt
        self.system = f"{prompt.system}\n\n{INSTRUCTION}" if prompt.system else INSTRUCTION
        self.extra_body = dict(extra_body or {})

    def with_mode(self, continuation: Continuation) -> AnthropicModel:
        """The same model with another continuation."""
        return AnthropicModel(
            self.model,
            self.server,
            continuation=continuation,
            name=self.name,
            prompt=self.prompt,
            extra_body=self.extra_body,
        )

    async def connect(self) -> None:
        """Find the continuation if none was given, as the first request does.

        Raises:
            InvalidInput: none works.
            ModelUnavailable: the API does not answer, or rejects the key.
        """
        await self._connect()

    async def _find_mode(self) -> None:
        try:
            working = await working_choices(self.modes, self.with_mode, lambda mode: None)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error}") from error
        self.continuation = working[-1]  # unclear for all: the one that takes least

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.post`.
        """
        started = time.perf_counter()
        await self._connect()
        solution = "".join(f"{BEGIN}{bare(step)}{END}{SEPARATOR}" for step in prefix.steps)
        answer = await self._ask(prefix, solution, BEGIN, sampling)
        return Completion(
            text=inner_step(without_repeated(solution, answer.text)),
            ending=answer.ending or Ending.SOLUTION,
            tokens=answer.usage.tokens,
            prompt_tokens=answer.usage.prompt_tokens,
            cached_tokens=answer.usage.cached_tokens,
            seconds=time.perf_counter() - started,
        )

    async def write_whole(self, request: WholeRequest, on_text: OnText) -> Completion:
        """Write a whole answer in one streamed request (`WholeModel`), without marks of steps.

        The API needs a limit: without one in the request, `sampling.max_tokens`.

        Raises:
            Refused: the model was stopped, or refuses to answer.
            ContextExceeded, ModelUnavailable: see `HttpServer.read_events`.
        """
        started = time.perf_counter()
        prompt = self.prompt if request.prompted else Prompt()
        messages = conversation(
            prompt.system, request.history, prompt.user_message(request.question)
        )
        system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
        body = {
            "model": self.model,
            "system": system,
            "messages": messages,
            "max_tokens": request.limit or request.sampling.max_tokens,
            **sampled(request.sampling),
            "stop_sequences": [stop for stop in request.stops if stop.strip()] or None,
            "stream": True,
            **self.extra_body,
        }
        stream = MessageStream(Pieces(request, on_text), Call(self.server.name, body))
        await self.server.read_events("/messages", body, stream.read)
        return stream.completion(time.perf_counter() - started)

    async def span_obstacle(self) -> str:
        """Why the model cannot write inside steps (`trim.models.spans`)."""
        return "Anthropic's API returns no log-probabilities"

    async def continue_text(self, question: str, text: str, tokens: int) -> Response:
        """Continue the beginning of an answer, in the way that steps are continued."""
        await self._connect()
        greedy = Sampling(0.0, 1.0, 0, tokens)
        answer = await self._ask(Prefix(question), BEGIN + text, "", greedy)
        plain = answer.text.strip().removeprefix(BEGIN)
        return replace(answer, text=without_repeated(text, plain))

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer a single message; this API returns no log-probabilities (`likeliest`)."""
        messages = [{"role": "user", "content": request}]
        return await self._post({"messages": messages, "max_tokens": tokens, "temperature": 0.0})

    async def _ask(
        self, prefix: Prefix, solution: str, opening: str, sampling: Sampling
    ) -> Response:
        prefills = self.continuation is Continuation.PREFILL
        question = self.prompt.user_message(prefix.question)
        asked = question if prefills else request(question, solution)
        system, *messages = conversation(self.system, prefix.history, asked)
        if prefills:
            messages.append({"role": "assistant", "content": (solution + opening).rstrip()})
        body: dict[str, Any] = {
            "system": system["content"],
            "messages": messages,
            "max_tokens": sampling.max_tokens,
            **sampled(sampling),
            "stop_sequences": [END],
        }
        return await self._post(body)

    async def _post(self, body: Mapping[str, Any]) -> Response:
        whole = {"model": self.model, **body, **self.extra_body}
        read = partial(read_message, call=Call(self.server.name, whole))
        return await self.server.post("/messages", whole, read)


def read_message(raw: Mapping[str, Any], call: Call) -> Response:
    """The answer to a call in one message of the API.

    Raises:
        Refused: the model was stopped, or refuses to answer.
        LookupError, TypeError, ValueError: the message is incomplete or malformed.
    """
    reason = raw["stop_reason"]
    if reason not in ENDINGS:
        raise stopped(reason)
    text = "".join(block["text"] for block in raw["content"] if block["type"] == "text")
    text = require_text(text)
    return Response(
        text=text,
        ending=ENDINGS[reason],
        usage=usage_of_message(raw["usage"], call, tokens_in(text)),
        reasoning=any("thinking" in block["type"] for block in raw["content"]),
    )


@dataclass
class MessageStream(WholeStream):
    """Reads the events of a message.

    Attributes:
        ending: None until the message has ended.
    """

    pieces: Pieces
    call: Call
    ending: Ending | None = None
    _reported: dict[str, Any] = field(default_factory=dict, init=False)

    def read(self, event: Mapping[str, Any]) -> bool:
        """Read another event; returns whether the stream is complete, or is to end here.

        Raises:
            Refused: the model was stopped, or refuses to answer.
            LookupError, TypeError, ValueError: the event is malformed.
        """
        match event["type"]:
            case "message_start":
                self._reported |= event["message"]["usage"]
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                if self.pieces.take(require_text(event["delta"]["text"])):
                    self.ending = Ending.LENGTH
                    return True
            case "message_delta":
                self._reported |= event["usage"]
                self.ending = whole_ending(event["delta"]["stop_reason"])
        return bool(event["type"] == "message_stop")

    @property
    def usage(self) -> Usage:
        """As the API counts it; estimated where the message has not begun or not ended."""
        if not self._reported:
            return Usage(tokens_in(self.call.prompt), 0, self.pieces.count)
        usage = usage_of_message(self._reported, self.call, self.pieces.count)
        return replace(usage, tokens=max(usage.tokens, self.pieces.count))


def whole_ending(reason: str) -> Ending:
    """Why a whole message ended. Raises Refused if the model was stopped, or refuses to answer."""
    if reason not in ENDINGS:
        raise stopped(reason)
    return Ending.LENGTH if ENDINGS[reason] is Ending.LENGTH else Ending.SOLUTION


def sampled(sampling: Sampling) -> dict[str, Any]:
    """The fields of a request that say how to sample."""
    fields: dict[str, Any] = {"temperature": min(sampling.temperature, 1.0)}
    if sampling.top_k and sampling.temperature > 0:
        fields["top_k"] = sampling.top_k
    return fields


def inner_step(text: str) -> str:
    """A step without its marks and without blank lines, which would end it for other models."""
    step = text.rpartition(BEGIN)[2].partition(END)[0].strip()
    return re.sub(r"\n\s*\n", "\n", step)
