"""A model behind Anthropic's Messages API."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trim.engines.http import HttpServer
from trim.engines.key import Key
from trim.errors import InvalidInput, Refused
from trim.models.continuation import Continuation, request, without_repeated
from trim.models.model import Completion, Ending, Prefix, Sampling
from trim.models.prompt import Prompt, conversation
from trim.models.response import Response
from trim.steps import SEPARATOR, bare
from trim.types import Usage

ADDRESS = "https://api.anthropic.com/v1"
VERSION = "2023-06-01"
BEGIN, END = "<step>", "</step>"
"""Around each step: this API takes no stop string of blanks alone, and no prefix that ends
with a blank, so a blank line cannot end a step here."""
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


def anthropic_server(key: Key | None, url: str = ADDRESS, **settings: Any) -> HttpServer:
    """The server of an `AnthropicModel`; `settings` are those of `HttpServer`."""
    headers = {"anthropic-version": VERSION}
    return HttpServer(url, key, key_header=("x-api-key", ""), headers=headers, **settings)


class AnthropicModel:
    """Continues a solution over the Messages API.

    Of the sampling, temperature and top-k are sent: newer models take temperature or top-p, not
    both, and no seed, so a step is a function of its prefix only at temperature 0, and not quite
    there. Log-probabilities are not told. Thinking is off unless `extra_body` switches it on.

    Args:
        continuation: `prefill` for models up to Claude 4.5, `user_turn` for all.
        prompt: what is read around the question; its system message comes before the instruction
            that asks for steps, and the beginning of the assistant's turn is left out.
        extra_body: fields of each request, over all others; None leaves a field out.
    """

    modes = (Continuation.PREFILL, Continuation.USER_TURN)

    def __init__(
        self,
        server: HttpServer,
        model: str,
        continuation: Continuation = Continuation.USER_TURN,
        name: str | None = None,
        prompt: Prompt = Prompt(),  # noqa: B008 - it cannot change
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if continuation not in self.modes:
            raise InvalidInput(
                f"{server.name}: Anthropic's API does not take the mode {continuation.value!r};"
                f" it takes {', '.join(self.modes)}"
            )
        self.server = server
        self.model = model
        self.continuation = continuation
        self.name = name or model
        self.prompt = prompt
        self.system = f"{prompt.system}\n\n{INSTRUCTION}" if prompt.system else INSTRUCTION
        self.extra_body = dict(extra_body or {})

    def with_mode(self, continuation: Continuation) -> AnthropicModel:
        """The same model in another mode."""
        return AnthropicModel(
            self.server, self.model, continuation, self.name, self.prompt, self.extra_body
        )

    async def write_step(self, prefix: Prefix, sampling: Sampling, seed: int) -> Completion:
        """Write the next step.

        Raises:
            ContextExceeded, ModelUnavailable: see `HttpServer.ask`.
        """
        started = time.perf_counter()
        said = "".join(f"{BEGIN}{bare(step)}{END}{SEPARATOR}" for step in prefix.steps)
        answer = await self._ask(prefix, said, BEGIN, sampling)
        return Completion(
            text=inner_step(without_repeated(said, answer.text)),
            ending=answer.ending or Ending.SOLUTION,
            tokens=answer.usage.tokens,
            prompt_tokens=answer.usage.prompt_tokens,
            cached_tokens=answer.usage.cached_tokens,
            seconds=time.perf_counter() - started,
        )

    async def go_on(self, question: str, said: str, tokens: int) -> Response:
        """Continue any text, as steps are continued, without what is repeated of it."""
        greedy = Sampling(0.0, 1.0, 0, tokens)
        answer = await self._ask(Prefix(question), BEGIN + said, "", greedy)
        plain = answer.text.strip().removeprefix(BEGIN)
        return replace(answer, text=without_repeated(said, plain))

    async def reply(self, request: str, tokens: int, likeliest: int = 0) -> Response:
        """Answer to a single message; this API tells no probabilities, whatever is asked for."""
        messages = [{"role": "user", "content": request}]
        return await self._post({"messages": messages, "max_tokens": tokens, "temperature": 0.0})

    async def _ask(self, prefix: Prefix, said: str, opening: str, sampling: Sampling) -> Response:
        prefills = self.continuation is Continuation.PREFILL
        question = self.prompt.asked(prefix.question)
        asked = question if prefills else request(question, said)
        system, *messages = conversation(self.system, prefix.history, asked)
        if prefills:
            messages.append({"role": "assistant", "content": (said + opening).rstrip()})
        body: dict[str, Any] = {
            "system": system["content"],
            "messages": messages,
            "max_tokens": sampling.max_tokens,
            "temperature": min(sampling.temperature, 1.0),
            "stop_sequences": [END],
        }
        if sampling.top_k and sampling.temperature > 0:
            body["top_k"] = sampling.top_k
        return await self._post(body)

    async def _post(self, body: Mapping[str, Any]) -> Response:
        whole = {"model": self.model, **body, **self.extra_body}
        return await self.server.ask("/messages", whole, read_message)


def read_message(raw: Mapping[str, Any]) -> Response:
    """The answer in the record of one message.

    Here `input_tokens` leaves out what was read from the cache or written to it; the prompt is
    all three.

    Raises:
        Refused: the model was stopped or refuses.
        LookupError, TypeError, ValueError: the record lacks something or is damaged.
    """
    reason = raw["stop_reason"]
    if reason not in ENDINGS:
        raise Refused(f"the model was stopped ({reason}); this problem cannot be asked there")
    usage = raw["usage"]
    cached = usage.get("cache_read_input_tokens") or 0
    read = usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0)
    return Response(
        text="".join(block["text"] for block in raw["content"] if block["type"] == "text"),
        ending=ENDINGS[reason],
        usage=Usage(read, cached, usage["output_tokens"]),
        reasoning=any("thinking" in block["type"] for block in raw["content"]),
    )


def inner_step(text: str) -> str:
    """A step without its marks, and without blank lines, which would end it elsewhere."""
    step = text.rpartition(BEGIN)[2].partition(END)[0].strip()
    return re.sub(r"\n\s*\n", "\n", step)
