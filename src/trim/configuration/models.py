"""The parts of a configuration that say where a model is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from trim.configuration.section import Positive, Seconds, Section, VariableName, one_of, said
from trim.engines.http import checked_url
from trim.errors import InvalidInput
from trim.models.anthropic import ADDRESS, AnthropicModel
from trim.models.continuation import DIALECTS, Continuation, ThinkingOff
from trim.models.prompt import QUESTION, Prompt, require_question


def address(url: str) -> str:
    try:
        checked_url(url)
    except InvalidInput as error:
        raise said(str(error)) from None
    return url


Address = Annotated[str, AfterValidator(address)]
ServerKind = Annotated[str, AfterValidator(one_of(DIALECTS))]


class GgufFile(Section):
    """A GGUF file that runs in this process.

    Attributes:
        slots: requests that it works on together.
        context: tokens that one request may have, prompt and answer together.
    """

    gguf: Path
    name: str | None = None
    slots: Positive = 4
    context: Annotated[int, Field(ge=64)] = 4096
    threads: Positive = 1


def template_with_question(template: str) -> str:
    try:
        require_question(template)
    except InvalidInput as error:
        raise said(str(error)) from None
    return template


class Prompted(Section):
    """What a model reads around a question (`trim.models.prompt.Prompt`).

    A model that names none of the three has those of the benchmark, or of the protocol; one that
    names any has just what it names.

    Attributes:
        system: the system message.
        user: the user's turn, with `{question}` in it.
        assistant: what the assistant's turn begins with.
    """

    system: str | None = None
    user: Annotated[str, AfterValidator(template_with_question)] | None = None
    assistant: str | None = None

    def prompt(self, usual: Prompt) -> Prompt:
        """The model's own prompt, or the usual one."""
        own = (self.system, self.user, self.assistant)
        if all(part is None for part in own):
            return usual
        return Prompt(self.system, self.user or QUESTION, self.assistant or "")


class GgufSection(GgufFile, Prompted):
    """A GGUF file that writes steps.

    Attributes:
        template: True for the file's own chat template if it has one, False for plain text,
            or a folder of tokenizer files, or a model on the hub.
        thinking_off: how a model that thinks is told not to.
    """

    template: bool | str = True
    thinking_off: Literal[ThinkingOff.TEMPLATE, ThinkingOff.NO_THINK] | None = None


class Served(Section):
    """A model on a server.

    Attributes:
        model: the server's name of it.
        name: what traces call it; the server's name where None.
        key_variable, key_file: where the key is, if there is one.
        concurrency: requests that are under way at a time.
        timeout: seconds that one request may take.
        attempts: times that a request is sent in all.
        extra_body: fields of each request, over all others; None leaves a field out.
    """

    url: Address
    model: str
    name: str | None = None
    key_variable: VariableName | None = None
    key_file: Path | None = None
    concurrency: Positive = 64
    timeout: Seconds = 300.0
    attempts: Positive = 8
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def require_one_key(self) -> Served:
        if self.key_variable and self.key_file:
            raise said("name key_variable or key_file, not both")
        return self


class OpenAIServed(Served, Prompted):
    """Behind OpenAI's protocol (`trim.models.openai.OpenAIModel`).

    Attributes:
        server: the kind of server.
        template: folder of tokenizer files or model on the hub, for `completions`.
    """

    api: Literal["openai"]
    server: ServerKind = "other"
    continuation: Continuation
    template: str | None = None
    thinking_off: ThinkingOff | None = None
    log_probabilities: bool | None = None
    token_ids: bool = True

    @model_validator(mode="after")
    def require_mode(self) -> OpenAIServed:
        modes = DIALECTS[self.server].modes
        if self.continuation not in modes:
            raise said(
                f"servers of the kind {self.server!r} do not take the continuation"
                f" {self.continuation.value!r}; they take {', '.join(modes)}"
            )
        plain = self.continuation is Continuation.COMPLETIONS and self.template is None
        if plain and self.system:
            raise said("a system message needs a chat template; name the tokenizer as template")
        return self


class AnthropicServed(Served, Prompted):
    """Behind Anthropic's Messages API (`trim.models.anthropic.AnthropicModel`)."""

    api: Literal["anthropic"]
    url: Address = ADDRESS
    continuation: Continuation = Continuation.USER_TURN

    @model_validator(mode="after")
    def require_mode(self) -> AnthropicServed:
        if self.continuation not in AnthropicModel.modes:
            raise said(
                f"Anthropic's API does not take the continuation {self.continuation.value!r}; it"
                f" takes {', '.join(AnthropicModel.modes)}"
            )
        return self


def tells_log_probabilities(section: GgufSection | OpenAIServed | AnthropicServed) -> bool:
    """Whether each step comes with its log-probability."""
    if isinstance(section, OpenAIServed):
        told = section.log_probabilities
        return DIALECTS[section.server].log_probabilities if told is None else told
    return isinstance(section, GgufSection)


def kind_of(given: Any) -> str | None:
    """Which of the three a part is; None for none of them."""
    if isinstance(given, Mapping):
        if "gguf" in given:
            return "<gguf>"
        return {"openai": "<openai>", "anthropic": "<anthropic>"}.get(str(given.get("api")))
    if isinstance(given, Section):
        return f"<{getattr(given, 'api', 'gguf')}>"
    return None


ModelSection = Annotated[
    Annotated[GgufSection, Tag("<gguf>")]
    | Annotated[OpenAIServed, Tag("<openai>")]
    | Annotated[AnthropicServed, Tag("<anthropic>")],
    Discriminator(
        kind_of,
        custom_error_type="said",
        custom_error_message="{message}",
        custom_error_context={
            "message": "name a file, as in `gguf: weak.gguf`, or a server with `api: openai` or"
            " `api: anthropic`"
        },
    ),
]
