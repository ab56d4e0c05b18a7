"""The notation of models on the command line of `trim init`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trim.engines.http import HttpServer, checked_url
from trim.errors import InvalidInput, Refused
from trim.models.anthropic import ADDRESS

FORMS = (
    "a GGUF file, as weak.gguf; a server and its model, as"
    " http://localhost:8000/v1#Qwen/Qwen2.5-1.5B-Instruct; or a service and its model, as"
    " anthropic:MODEL"
)


@dataclass(frozen=True)
class Service:
    """A hosted API.

    Attributes:
        server: its kind (`trim.models.continuation`); None for Anthropic's own protocol.
        variable: environment variable that holds its key by default.
    """

    url: str
    server: str | None
    variable: str


SERVICES = {
    "anthropic": Service(ADDRESS, None, "ANTHROPIC_API_KEY"),
    "openai": Service("https://api.openai.com/v1", "openai", "OPENAI_API_KEY"),
    "deepseek": Service("https://api.deepseek.com/beta", "deepseek", "DEEPSEEK_API_KEY"),
    "mistral": Service("https://api.mistral.ai/v1", "mistral", "MISTRAL_API_KEY"),
}
"""Hosted APIs by the name before the colon."""


@dataclass(frozen=True)
class FileSource:
    """A GGUF file."""

    path: Path


@dataclass(frozen=True)
class ServerSource:
    """A server.

    Attributes:
        model: its name on the server; None for the server's only model.
    """

    url: str
    model: str | None


@dataclass(frozen=True)
class ServiceSource:
    """A model of a hosted API."""

    service: Service
    model: str


Source = FileSource | ServerSource | ServiceSource


def parse_source(text: str, role: str) -> Source:
    """A GGUF file, `URL#MODEL`, or `SERVICE:MODEL`.

    Args:
        role: for error messages.

    Raises:
        InvalidInput: it is none of them.
    """
    word = text.strip()
    if word.startswith(("http://", "https://")):
        url, _, model = word.partition("#")
        try:
            checked_url(url)
        except InvalidInput as error:
            raise InvalidInput(f"{role}: {error}") from None
        return ServerSource(url, model or None)
    name, colon, model = word.partition(":")
    if colon and name in SERVICES:
        if not model:
            raise InvalidInput(f"{role}: name a model of the service, as {name}:MODEL")
        return ServiceSource(SERVICES[name], model)
    if word.endswith(".gguf") or Path(word).is_file():
        return FileSource(Path(word))
    raise InvalidInput(f"{role}: {word!r} is not a model; name {FORMS}")


HOSTS = {
    "api.openai.com": "openai",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral",
}
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama_cpp"}
"""By `owned_by` in the list of models."""
SIGNS = (
    ("//props", "default_generation_settings", "llama_cpp"),
    ("//get_model_info", "model_path", "sglang"),
    ("//info", "max_input_tokens", "tgi"),
    ("//version", "version", "vllm"),
)
"""Routes that a single kind of server has, and a field of their answers."""
SHOWN = 5
"""Number of models that an error message lists."""


@dataclass(frozen=True)
class Server:
    """A server that was identified.

    Attributes:
        kind: as in `trim.models.continuation.DIALECTS`.
        models: the names of its models; empty if it does not list them.
        slots: requests that it processes together; None if it does not report them.
    """

    kind: str
    models: tuple[str, ...]
    slots: int | None = None


async def discover(server: HttpServer) -> Server:
    """Identify the kind and the models of a server.

    Raises:
        Refused: the server rejects the key.
        ModelUnavailable: the server does not answer.
    """
    listed = await server.look("/models")
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    models = [each for each in entries or () if isinstance(each, Mapping)]
    names = tuple(str(each["id"]) for each in models if "id" in each)
    host = urlsplit(server.url).hostname or ""
    owners = [OWNERS[each["owned_by"]] for each in models if each.get("owned_by") in OWNERS]
    kind = HOSTS.get(host) or next(iter(owners), None) or await sign_of(server) or "other"
    properties = await server.look("//props") if kind == "llama_cpp" else None
    slots = properties.get("total_slots") if isinstance(properties, Mapping) else None
    return Server(kind, names, slots if isinstance(slots, int) and slots > 0 else None)


async def sign_of(server: HttpServer) -> str | None:
    """The kind of a server, by a route that no other kind has."""
    for path, name, kind in SIGNS:
        try:
            answer: Any = await server.look(path)
        except Refused:
            continue
        if isinstance(answer, Mapping) and name in answer:
            return kind
    return None


def only_model(server: Server, address: str) -> str:
    """The name of a server's only model.

    Raises:
        InvalidInput: it has several, or lists none.
    """
    if len(server.models) == 1:
        return server.models[0]
    some = ", ".join(server.models[:SHOWN]) or "it lists none"
    raise InvalidInput(f"{address}: name one of its models, as {address}#MODEL; it has: {some}")
