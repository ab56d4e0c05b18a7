"""What a server is: its kind, its models and its slots, found by its own signs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.http import HttpServer
from trim.engines.key import Key, find_key
from trim.errors import InvalidInput, MissingExtra, ModelUnavailable, Refused, TrimError
from trim.models.continuation import LLAMA_CPP, Dialect
from trim.models.response import require_ids


@dataclass(frozen=True)
class Service:
    """A hosted API.

    Attributes:
        server: its kind (`trim.models.continuation`); None for Anthropic's own protocol.
        variable: the environment variable that usually holds its key.
    """

    url: str
    server: str | None
    variable: str


SERVICES = {
    "anthropic": Service("https://api.anthropic.com/v1", None, "ANTHROPIC_API_KEY"),
    "openai": Service("https://api.openai.com/v1", "openai", "OPENAI_API_KEY"),
    "deepseek": Service("https://api.deepseek.com/beta", "deepseek", "DEEPSEEK_API_KEY"),
    "mistral": Service("https://api.mistral.ai/v1", "mistral", "MISTRAL_API_KEY"),
}
"""Hosted APIs by the name that the command line gives them."""
HOSTS = {urlsplit(service.url).hostname: service for service in SERVICES.values()}
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama_cpp"}
"""Kinds of servers by `owned_by` in the list of models."""
SIGNS = (
    ("//props", "default_generation_settings", "llama_cpp"),
    ("//get_model_info", "model_path", "sglang"),
    ("//info", "max_input_tokens", "tgi"),
    ("//version", "version", "vllm"),
)
"""Routes that only one kind of server has, and a field of their answers."""
SAMPLE = (
    "Step 1) Let x = 3.14159 and y = 1,048,576; then x**2 + y/7 = 149,806.44. Therefore the answer"
    " is \\boxed{\\frac{12}{345}}, isn't it?\n\n```python\ndef solve(values: list[int]) -> None:\n"
    "    return sum(value % 10 for value in values)\n```\n\n\n\tUnbelievable internationalization"
    " of antidisestablishmentarianism. Die größten Straßen, où l'été, niño, żółć. Привет, как дела?"
    " 你好，世界。これは日本語です。 안녕하세요. שלום מרחבا नमस्ते สวัสดี 🙂 ≤ ∑ √2 → π"
)
"""A text that tokenizers with different vocabularies cut differently."""
SHOWN = 5
"""Models of a server that an error lists."""
NAME_LIMIT = 256
"""Characters of a model's name; a longer one is ignored."""
TEMPLATE_LIMIT = 1 << 18
"""Characters of a chat template that a server reports."""


@dataclass(frozen=True)
class Server:
    """What a server reports about itself.

    Attributes:
        kind: a name in `trim.models.continuation.DIALECTS`.
        models: the names of its models; empty where it does not list them.
        slots: requests that it serves at a time; None where it does not report them.
    """

    kind: str
    models: tuple[str, ...]
    slots: int | None = None


def service_at(url: str) -> Service | None:
    """The hosted API at an address; None for any other server."""
    return HOSTS.get(urlsplit(url).hostname)


def connect(
    server: HttpServer | str, key: str | Key | None, key_variable: str | None, **settings: Any
) -> HttpServer:
    """The client of a server, made from its URL unless it is one already.

    A hosted API's key is read from its usual environment variable if no other is given.

    Raises:
        InvalidInput: an invalid URL, no key where one is named, or a key for a made client.
    """
    if not isinstance(server, str):
        if key or key_variable:
            raise InvalidInput(f"{server.name}: pass the key to HttpServer")
        return server
    service = service_at(server)
    return HttpServer(
        server, find_key(key, key_variable, service.variable if service else None), **settings
    )


async def discover(server: HttpServer) -> Server:
    """Ask a server for its kind and its models.

    Raises:
        Refused: the key was not accepted.
        ModelUnavailable: no answer.
    """
    listed = await server.get("/models")
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    rows = entries if isinstance(entries, list) else []
    models = [each for each in rows if isinstance(each, Mapping) and is_name(each.get("id"))]
    names = tuple(each["id"] for each in models)
    service = service_at(server.url)
    named = (str(each.get("owned_by")) for each in models)
    owners = [OWNERS[owner] for owner in named if owner in OWNERS]
    hosted = service.server if service else None
    kind = hosted or next(iter(owners), None) or await kind_by_routes(server) or "other"
    properties = await server.get("//props") if kind == "llama_cpp" else None
    slots = properties.get("total_slots") if isinstance(properties, Mapping) else None
    return Server(kind, names, slots if isinstance(slots, int) and slots > 0 else None)


def is_name(value: Any) -> bool:
    """Whether a server's name of a model is one: a short, printable text."""
    return isinstance(value, str) and 0 < len(value) <= NAME_LIMIT and value.isprintable()


async def kind_by_routes(server: HttpServer) -> str | None:
    """The kind of a server by a route that no other kind has."""
    for path, name, kind in SIGNS:
        try:
            answer: Any = await server.get(path)
        except Refused:
            continue
        if isinstance(answer, Mapping) and name in answer:
            return kind
    return None


def only_model(server: Server, address: str, form: str) -> str:
    """The name of a server's only model.

    Args:
        form: how to name a model, for the error.

    Raises:
        InvalidInput: it has several, or lists none.
    """
    if len(server.models) == 1:
        return server.models[0]
    some = ", ".join(server.models[:SHOWN]) or "it lists none"
    raise InvalidInput(f"{address}: name one of its models, as {form}; it has: {some}")


async def find_template(server: HttpServer, dialect: Dialect, model: str) -> ChatTemplate | None:
    """The chat template of a model: llama.cpp's server has it, others by the model's name.

    Returns:
        None where there is none: no such folder or model on the hub, or no client of the hub.
    """
    if dialect is LLAMA_CPP:
        return await served_template(server)
    if "/" not in model and not Path(model).is_dir():
        return None
    try:
        return await asyncio.to_thread(read_chat_template, model)
    except (InvalidInput, MissingExtra, OSError):
        return None


async def served_template(server: HttpServer) -> ChatTemplate | None:
    try:
        found: Any = await server.get("//props")
        source = found["chat_template"]
        if not isinstance(source, str) or len(source) > TEMPLATE_LIMIT:
            return None
        tokens = {name: str(found.get(name) or "") for name in ("bos_token", "eos_token")}
        return ChatTemplate(source, tokens, server.name) if source else None
    except (ModelUnavailable, InvalidInput, LookupError, TypeError, AttributeError):
        return None


async def find_vocabulary(server: HttpServer, dialect: Dialect, model: str) -> str | None:
    """A fingerprint of a model's vocabulary: the sha256 of the token ids of `SAMPLE`.

    Returns:
        None where the server does not tokenize.
    """
    if dialect.text_field is None:
        return None
    request = {"model": model, dialect.text_field: SAMPLE, "add_special_tokens": False}
    try:
        tokens = await server.post("//tokenize", request, lambda raw: require_ids(raw["tokens"]))
    except TrimError:
        return None
    return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()


class Once:
    """Runs `work` until it has succeeded once; concurrent callers wait for the same run.

    Args:
        work: raises where it fails; the next caller then tries again.
        done: there is nothing to do.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], done: bool = False) -> None:
        self._work = work
        self._done = done
        # A lock belongs to one event loop.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def __call__(self) -> None:
        if self._done:
            return
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if not self._done:
                await self._work()
                self._done = True
