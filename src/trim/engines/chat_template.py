"""Chat templates of tokenizer files, rendered as Hugging Face's tokenizers do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trim.documents import parse_json
from trim.engines.hub import cached_file
from trim.errors import InvalidInput, MissingExtra
from trim.files import read_bytes, read_text

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.ext import Extension
    from jinja2.nodes import Node
    from jinja2.parser import Parser

CONFIGURATION = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
"""File with the template, where the configuration has none."""

Message = Mapping[str, Any]


@dataclass(frozen=True)
class ChatTemplate:
    """Renders messages as the text that the model reads.

    Attributes:
        source: the template, in Jinja.
        special_tokens: tokens by the names that a template uses, as `bos_token`.
        origin: folder or name of the model, for errors.

    Raises:
        InvalidInput: the template is invalid.
    """

    source: str
    special_tokens: Mapping[str, str]
    origin: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "_template", compiled(self.source, self.origin))

    @property
    def begin(self) -> str:
        """The BOS token, which some servers add by themselves; may be empty."""
        return self.special_tokens.get("bos_token", "")

    def render(
        self, messages: Sequence[Message], add_generation_prompt: bool = True, **settings: Any
    ) -> str:
        """The text of `messages`; `settings` are the template's own, as `enable_thinking`.

        Raises:
            InvalidInput: the template does not take these messages.
        """
        from jinja2 import TemplateError

        template: Template = vars(self)["_template"]
        try:
            return template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
                **settings,
            )
        except (
            *(TemplateError, TypeError, ValueError, LookupError),
            *(AttributeError, ArithmeticError, RecursionError, MemoryError),
        ) as error:
            raise InvalidInput(
                f"{self.origin}: the chat template does not take these messages ({error})"
            ) from error


def compiled(source: str, origin: str) -> Template:
    """The template, sandboxed; InvalidInput for an invalid one."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, generation_tag()]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError, SyntaxError, MemoryError, OverflowError) as error:
        raise InvalidInput(f"{origin}: the chat template is damaged ({error})") from error


def generation_tag() -> type[Extension]:
    """The tag `generation`, which marks the tokens of the assistant in training."""
    from jinja2.ext import Extension

    class GenerationTag(Extension):
        tags = {"generation"}  # noqa: RUF012 (as declared by Jinja)

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return GenerationTag


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's `tojson`, as Hugging Face's tokenizers define it."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def refuse(message: str) -> None:
    """Jinja's `raise_exception`, by which a template rejects messages."""
    from jinja2 import TemplateError

    raise TemplateError(message)


def read_chat_template(source: str | Path) -> ChatTemplate:
    """The template of a local folder of tokenizer files, or of a model on the hub, `owner/name`.

    Raises:
        InvalidInput: no such folder, no readable files, or no chat template in them.
        MissingExtra: the client of the hub is not installed.
    """
    folder = Path(source)
    if folder.is_dir():
        return template_from(str(source), lambda name: folder / name)
    if folder.is_absolute() or str(source).count("/") != 1:
        raise InvalidInput(
            f"{source}: neither a folder of tokenizer files nor a model on the hub, as owner/name"
        )
    return template_from(str(source), lambda name: fetch(str(source), name))


def template_from(origin: str, find: Callable[[str], Path]) -> ChatTemplate:
    configuration = read_configuration(origin, find)
    source = configuration.get("chat_template")
    if isinstance(source, list):  # several templates, by name
        named = (each for each in source if isinstance(each, dict))
        source = next(
            (each.get("template") for each in named if each.get("name") == "default"), None
        )
    if not isinstance(source, str):
        try:
            source = read_text(find(TEMPLATE))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{origin}: no chat template in {CONFIGURATION} and no {TEMPLATE}; name the"
                " files of an instruction-tuned model, or use none for a plain text model"
            ) from error
    tokens = {
        name: text
        for name, value in configuration.items()
        if name.endswith("_token")
        and isinstance(text := value.get("content") if isinstance(value, dict) else value, str)
    }
    return ChatTemplate(source, tokens, origin)


def read_configuration(origin: str, find: Callable[[str], Path]) -> dict[str, Any]:
    try:
        configuration = parse_json(read_bytes(find(CONFIGURATION)))
    except OSError as error:
        raise InvalidInput(f"{origin}: no readable {CONFIGURATION} ({error})") from error
    except ValueError as error:
        raise InvalidInput(f"{origin}: {CONFIGURATION} is damaged ({error})") from error
    if not isinstance(configuration, dict):
        raise InvalidInput(f"{origin}: {CONFIGURATION} is damaged; it should hold an object")
    return configuration


def fetch(model: str, name: str) -> Path:
    """A file of a model on the hub, from the local cache if it is there.

    Raises:
        MissingExtra: the client of the hub is not installed.
        OSError: the hub cannot be reached or has no such file.
    """
    try:
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise MissingExtra(
            f"{model}: a chat template from the hub, unlike one in a local folder, needs"
            " huggingface_hub",
            "hub",
        ) from error
    try:
        return cached_file(model, name)
    except (HfHubHTTPError, HFValidationError) as error:
        raise FileNotFoundError(f"the hub has no {name} of {model}") from error
    except OSError:
        raise
    except Exception as error:  # of the hub's HTTP client, which its version chooses
        raise OSError(f"the hub cannot be reached ({type(error).__name__})") from error
