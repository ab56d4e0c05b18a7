"""The sections `weak`, `intermediate` and `strong`: where a model is, and how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from trim.configuration.model_file import ModelFile, Sha256, local_path
from trim.configuration.section import (
    INVALID,
    AtOnce,
    Seconds,
    Section,
    VariableName,
    invalid,
    one_of,
)
from trim.engines.http import checked_url
from trim.errors import InvalidInput
from trim.models.anthropic import ADDRESS, AnthropicModel
from trim.models.continuation import DIALECTS, Continuation, ThinkingOff
from trim.models.prompt import QUESTION, Prompt, require_question


def address(url: str) -> str:
    try:
        checked_url(url)
    except InvalidInput as error:
        raise invalid(str(error)) from None
    return url


Address = Annotated[str, AfterValidator(address)]
ServerKind = Annotated[str, AfterValidator(one_of(DIALECTS))]


class GgufFile(Section):
    """A GGUF file that runs in this process.

    Attributes:
        gguf: relative to the configuration file, or on the hub (`trim.engines.hub.FORM`).
        sha256: that the file must have; None skips the check.
        slots: requests that are decoded together.
        context: maximum tokens of a request, prompt and completion together.
        threads: computing threads; more than one pays only for large models.
    """

    gguf: ModelFile
    sha256: Sha256 | None = None
    name: str | None = None
    slots: AtOnce = 4
    context: Annotated[int, Field(ge=64, le=2**31 - 1)] = 4096
    threads: AtOnce = 1

    def local_path(self) -> Path:
        """The file on this machine (`trim.configuration.model_file.local_path`)."""
        return local_path(self.gguf, self.sha256)


def template_with_question(template: str) -> str:
    try:
        require_question(template)
    except InvalidInput as error:
        raise invalid(str(error)) from None
    return template


class Prompted(Section):
    """The prompt around a question (`trim.models.prompt.Prompt`).

    If none of the three is set, the model reads the prompt of the benchmark or the protocol; if
    any is, it reads just those.

    Attributes:
        system: system message.
        user: the user's turn, with `{question}` in it.
        assistant: beginning of the assistant's turn.
    """

    system: str | None = None
    user: Annotated[str, AfterValidator(template_with_question)] | None = None
    assistant: str | None = None

    def prompt(self, usual: Prompt) -> Prompt:
        """The section's own prompt, or `usual` if it sets none."""
        own = (self.system, self.user, self.assistant)
        if all(part is None for part in own):
            return usual
        return Prompt(self.system, self.user or QUESTION, self.assistant or "")


class GgufSection(GgufFile, Prompted):
    """A GGUF file that writes steps.

    Attributes:
        template: True for the file's own chat template if it has one, False for plain text,
            or a folder of tokenizer files, or a model on the hub.
        thinking_off: how thinking is disabled.
    """

    template: bool | str = True
    thinking_off: Literal[ThinkingOff.TEMPLATE, ThinkingOff.NO_THINK] | None = None

    @property
    def reports_log_probabilities(self) -> bool:
        """Whether each step comes with its log-probability."""
        return True


class Served(Section):
    """A model on a server.

    Attributes:
        model: name of the model on the server.
        name: name in traces; by default `model`.
        key_variable, key_file: environment variable or file that holds the API key.
        concurrency: maximum requests at a time.
        timeout: seconds until a request fails.
        attempts: how often a request is sent at most.
        extra_body: fields of each request, over all others; None leaves a field out.
    """

    url: Address
    model: str
    name: str | None = None
    key_variable: VariableName | None = None
    key_file: Path | None = None
    concurrency: AtOnce = 64
    timeout: Seconds = 300.0
    attempts: AtOnce = 8
    extra_body: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def require_one_key(self) -> Served:
        if self.key_variable and self.key_file:
            raise invalid("name key_variable or key_file, not both")
        return self


class OpenAIServed(Served, Prompted):
    """A server with OpenAI's protocol (`trim.models.openai.OpenAIModel`).

    Attributes:
        server: the kind of server (`trim.models.continuation.DIALECTS`).
        template: folder of tokenizer files or model on the hub, for `completions`.
        log_probabilities: whether to request log-probabilities; None where the kind of server is
            known to report them.
        token_ids: whether to send token ids instead of text, where the server takes them.
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
            raise invalid(
                f"servers of the kind {self.server!r} do not take the continuation"
                f" {self.continuation.value!r}; they take {', '.join(modes)}"
            )
        plain = self.continuation is Continuation.COMPLETIONS and self.template is None
        if plain and self.system:
            raise invalid("a system message needs a chat template; name the tokenizer as template")
        return self

    @property
    def reports_log_probabilities(self) -> bool:
        """Whether each step comes with its log-probability."""
        given = self.log_probabilities
        return DIALECTS[self.server].log_probabilities if given is None else given


class AnthropicServed(Served, Prompted):
    """A server with Anthropic's Messages API (`trim.models.anthropic.AnthropicModel`)."""

    api: Literal["anthropic"]
    url: Address = ADDRESS
    continuation: Continuation = Continuation.USER_TURN

    @model_validator(mode="after")
    def require_mode(self) -> AnthropicServed:
        if self.continuation not in AnthropicModel.modes:
            raise invalid(
                f"Anthropic's API does not take the continuation {self.continuation.value!r}; it"
                f" takes {', '.join(AnthropicModel.modes)}"
            )
        return self

    @property
    def reports_log_probabilities(self) -> bool:
        """Whether each step comes with its log-probability."""
        return False


WritingSection = GgufSection | OpenAIServed | AnthropicServed
"""A model that trim itself implements."""


class Plugin(Section):
    """A part that another package adds by an entry point.

    Fields without a meaning of their own here are passed to the entry point as keywords. As in
    other sections, a path in `gguf`, `weights` or `key_file` is relative to the configuration
    file (`hf:ORG/REPO/FILE` is passed on as it is), and API keys are refused: pass the name of an
    environment variable.

    Attributes:
        plugin: name of the entry point.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    plugin: str

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class PluginModel(Plugin):
    """A model of the entry-point group `trim.models`, which reads questions without a prompt.

    The package declares, in its `pyproject.toml`,

        [project.entry-points."trim.models"]
        echo = "my_package:EchoModel"

    and a configuration names it:

        weak: {plugin: echo, text: "1 + 1 = 2."}

    `my_package.EchoModel(text="1 + 1 = 2.")` then returns a `trim.models.model.Model`.

    Attributes:
        log_probabilities: whether its completions have `log_probability`; it is not passed on.
    """

    log_probabilities: bool = False

    @property
    def reports_log_probabilities(self) -> bool:
        """Whether each step comes with its log-probability."""
        return self.log_probabilities


def model_tag(given: Any) -> str | None:
    """The tag of a section in `ModelSection`; None if it is no model."""
    if isinstance(given, Mapping):
        known = {"openai": "<openai>", "anthropic": "<anthropic>"}
        for name in ("gguf", "plugin"):
            if name in given:
                return f"<{name}>"
        return known.get(str(given.get("api")))
    if isinstance(given, PluginModel):
        return "<plugin>"
    if isinstance(given, Section):
        return f"<{getattr(given, 'api', 'gguf')}>"
    return None


ModelSection = Annotated[
    Annotated[GgufSection, Tag("<gguf>")]
    | Annotated[OpenAIServed, Tag("<openai>")]
    | Annotated[AnthropicServed, Tag("<anthropic>")]
    | Annotated[PluginModel, Tag("<plugin>")],
    Discriminator(
        model_tag,
        custom_error_type=INVALID,
        custom_error_message="{message}",
        custom_error_context={
            "message": "name a file, as in `gguf: weak.gguf`, or a server with `api: openai` or"
            " `api: anthropic`, or a model of another package with `plugin: NAME`"
        },
    ),
]
