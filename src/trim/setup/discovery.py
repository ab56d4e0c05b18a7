"""What kind of server answers at an address, and which models it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trim.engines.http import HttpServer
from trim.errors import InvalidInput, Refused

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
"""Routes that only one kind of server has, and a name in their answers."""
SHOWN = 5
"""Models of a server that an error lists."""


@dataclass(frozen=True)
class Server:
    """What is known of a server.

    Attributes:
        kind: as in `trim.models.dialect.DIALECTS`.
        models: the names of its models; empty where it does not list them.
        slots: requests that it works on together; None where it does not tell.
    """

    kind: str
    models: tuple[str, ...]
    slots: int | None = None


async def discover(server: HttpServer) -> Server:
    """Ask a server what it is.

    Raises:
        Refused: the key was not accepted.
        ModelUnavailable: no answer.
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
    """The kind of a server by a route that no other kind has."""
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
