"""Requests as OpenAI's clients send them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Stop = Annotated[str, Field(min_length=1, max_length=1000)]
"""Matching costs its length at every piece of an answer."""


class TextPart(BaseModel):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation."""

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
    """The field `trim` of a request: how to route it.

    Attributes:
        policy: name of a router, as after `trim:` in the model's name.
        strong_share: largest share of strong tokens, relative to the strong model alone; selects
            the measured router that uses most of it.
        accuracy: smallest accuracy; selects the cheapest measured router that reaches it.
        strong_tokens: limit on strong tokens, which the last step may exceed.
        money: limit on cost, after which the strong model is not asked again.
        fallback: what to do when a model or the scorer does not answer.
        deadline: seconds for the whole answer.
        steps: list the steps with their authors and decisions.
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


class BaseRequest(BaseModel):
    """The fields that this server reads of every request, also of those it forwards."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    trim: RoutingOptions = RoutingOptions()

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class RoutedRequest(BaseRequest):
    """The fields of both kinds of routed request; others have no effect (`NEUTRAL`)."""

    n: Annotated[int, Field(ge=1, le=8), BeforeValidator(lambda n: 1 if n is None else n)] = 1
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    user: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def limit(self) -> int | None:
        """The largest number of tokens of the answer."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(RoutedRequest):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(RoutedRequest):
    """`POST /v1/completions`: the prompt is the question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]

    @property
    def text(self) -> str:
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


Body = TypeVar("Body", bound=BaseRequest)


def validate(kind: type[Body], fields: Mapping[str, Any]) -> Body:
    """The body of a request. Raises RequestValidationError, as FastAPI does, if it is invalid."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        for each in errors:
            each["loc"] = ("body", *each["loc"])
        raise RequestValidationError(errors) from None


NEUTRAL: Mapping[str, Callable[[Any], bool]] = {
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
"""Fields that routing does not support, and the values with which they have no effect. Any other
field (`metadata`, `store`, `service_tier`, …) is accepted and ignored."""


def unsupported_feature(fields: Mapping[str, Any]) -> str | None:
    """The field or kind of content in a request that routing does not support; None without any."""
    for name, value in fields.items():
        if value is not None and name in NEUTRAL and not NEUTRAL[name](value):
            return name
    return unsupported_content(fields)


def unsupported_content(fields: Mapping[str, Any]) -> str | None:
    """A role or kind of part that is not text; None if all messages are text."""
    messages = fields.get("messages")
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


class StopFilter:
    """Cuts a text at the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until more arrives.

    Attributes:
        stopped: whether a stop string was found; no text passes after it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def feed(self, piece: str) -> str:
        """Add a piece; return the text that may be shown now."""
        if self.stopped:
            return ""
        text = self._held + piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stops]
        matches = [(end, start) for end, start in found if start >= 0]
        if matches:
            self.stopped, self._held = True, ""
            return text[: min(matches)[1]]
        held = max((overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """The text held back, at the end."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
