"""Requests as OpenAI's clients send them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trim.server.errors import invalid

Stop = Annotated[str, Field(min_length=1)]


class TextPart(BaseModel):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream holds besides text."""

    include_usage: bool = False


class RoutingOptions(BaseModel):
    """The field `trim` of a request: how it is to be routed.

    Attributes:
        policy: a router by name, as after `trim:` in the model's name.
        strong_share: the router that spends most of what is allowed, of those measured: strong
            tokens as a share of the strong model's alone.
        accuracy: the cheapest router that was measured to be right so often.
        strong_tokens: that the request may cost; one step may pass it.
        money: that the request may cost before the strong model is asked no more.
        fallback: what is done where a part does not answer.
        deadline: seconds for the whole answer.
        steps: whether the answer lists who wrote each step, and why.
    """

    model_config = ConfigDict(extra="forbid")

    policy: Annotated[str, Field(max_length=200)] | None = None
    strong_share: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    strong_tokens: Annotated[int, Field(ge=0)] | None = None
    money: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    fallback: Literal["keep", "escalate", "fail"] | None = None
    deadline: Annotated[float, Field(gt=0, le=3600)] | None = None
    steps: bool = False


class Envelope(BaseModel):
    """What this server reads of every request, those included that it hands on."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    trim: RoutingOptions = RoutingOptions()

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


Body = TypeVar("Body", bound=Envelope)


class Request(Envelope):
    """What both kinds of routed request have; of other fields `trim.server.request` says which
    change nothing."""

    n: Annotated[int, Field(ge=1, le=8)] = 1
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    user: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(Request):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Request):
    """`POST /v1/completions`: the prompt is the question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


def checked(kind: type[Body], fields: Mapping[str, Any]) -> Body:
    """Raises Failure for the first mistake, without the value, which may be private."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, mistake["loc"]))
        raise invalid(f"{where or 'the body'}: {mistake['msg']}", where or None) from None


HARMLESS: Mapping[str, Callable[[Any], bool]] = {
    "tools": lambda value: value == [],
    "tool_choice": lambda value: value in ("none", "auto"),
    "parallel_tool_calls": lambda value: True,
    "functions": lambda value: value == [],
    "function_call": lambda value: value in ("none", "auto"),
    "response_format": lambda value: value == {"type": "text"},
    "logprobs": lambda value: value in (False, 0),
    "top_logprobs": lambda value: value == 0,
    "logit_bias": lambda value: value == {},
    "presence_penalty": lambda value: value == 0,
    "frequency_penalty": lambda value: value == 0,
    "modalities": lambda value: value == ["text"],
    "audio": lambda value: False,
    "prediction": lambda value: False,
    "web_search_options": lambda value: False,
    "reasoning_effort": lambda value: False,
    "echo": lambda value: value is False,
    "suffix": lambda value: value == "",
    "best_of": lambda value: value == 1,
}
"""Values with which a field asks for nothing. Fields that are not here (`metadata`, `store`,
`service_tier` and whatever comes) are taken and ignored."""


def unserved(fields: Mapping[str, Any]) -> str | None:
    """What of a request's body asks for what routing cannot give: a field, or a kind of message;
    None where there is nothing."""
    for name, value in fields.items():
        if value is not None and name in HARMLESS and not HARMLESS[name](value):
            return name
    return unserved_message(fields)


def unserved_message(body: Mapping[str, Any]) -> str | None:
    """What a message holds that is no text: a role or a kind of part; None where all is text."""
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        if message.get("role") in ("tool", "function") or message.get("tool_calls"):
            return "tools"
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") not in (None, "text"):
                return str(part["type"])
    return None


class Stopping:
    """Lets a text through until one of the stop strings begins: the one that is complete first.

    What may be the beginning of one is held back until the next piece tells.

    Attributes:
        stopped: whether one was met; nothing is let through after it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def let(self, piece: str) -> str:
        """What of the text so far may be shown now."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops]
        met = [(end, place) for end, place in found if place >= 0]
        if met:
            self.stopped, self._held = True, ""
            return text[: min(met)[1]]
        held = max((overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
