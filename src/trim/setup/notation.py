"""The notation of models on the command line of `trim init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trim.engines.http import checked_url
from trim.engines.hub import PREFIX, HubFile
from trim.errors import InvalidInput
from trim.models.discovery import SERVICES, Service

FORMS = (
    "a GGUF file, as weak.gguf or hf:ORG/REPO/FILE; a server and its model, as"
    " http://localhost:8000/v1#Qwen/Qwen2.5-1.5B-Instruct; or a service and its model, as"
    " anthropic:MODEL"
)


@dataclass(frozen=True)
class FileSource:
    """A GGUF file, here or on the hub."""

    file: Path | HubFile


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
    """A GGUF file, here or on the hub, `URL#MODEL`, or `SERVICE:MODEL`.

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
    if word.startswith(PREFIX):
        try:
            return FileSource(HubFile.parse(word))
        except InvalidInput as error:
            raise InvalidInput(f"{role}: {error}") from None
    name, colon, model = word.partition(":")
    if colon and name in SERVICES:
        if not model:
            raise InvalidInput(f"{role}: name a model of the service, as {name}:MODEL")
        return ServiceSource(SERVICES[name], model)
    if word.endswith(".gguf") or Path(word).is_file():
        return FileSource(Path(word))
    raise InvalidInput(f"{role}: {word!r} is not a model; name {FORMS}")
