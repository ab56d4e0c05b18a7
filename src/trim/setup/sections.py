"""Sections of models for a new configuration, found by trying what works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from trim.checks.exercises import BATCH, KINDS, TOKENS, write_drafts
from trim.configuration.build import WritingModel, for_trial, make_model, make_server
from trim.configuration.model_file import local_path
from trim.configuration.models import AnthropicServed, GgufSection, OpenAIServed, WritingSection
from trim.configuration.section import Section, first_error
from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.gguf import read_chat, read_metadata
from trim.engines.hub import HubFile
from trim.engines.llama_cpp import check_file
from trim.errors import InvalidInput, MissingExtra, TrimError
from trim.models.anthropic import AnthropicModel
from trim.models.continuation import DIALECTS, Continuation, ThinkingOff
from trim.models.discovery import discover, only_model
from trim.models.model import Model, Prefix, Sampling
from trim.models.probe import working_choices
from trim.setup.notation import (
    FileSource,
    ServerSource,
    ServiceSource,
    Source,
)

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""System message of models that take one: a boxed answer ends the solution."""
CONTEXT = 4096
"""Maximum tokens of a request to a GGUF file, unless its model was trained on fewer."""
SMALL = 100 << 20
"""Size in bytes of a file up to which one thread is fastest."""
Document = dict[str, Any]
AnySection = TypeVar("AnySection", bound=Section)
Connections = list[object]
"""Models and servers with open connections: they must not be freed before the event loop ends."""


async def describe(
    source: Source, role: str, variable: str | None, folder: Path, connections: Connections
) -> Document:
    """The section of a model.

    Args:
        variable: environment variable that holds the key; None for no key, or for the default
            one of the service.
        folder: of the configuration, to which paths are relative.
        connections: all models and servers that are made are added.

    Raises:
        InvalidInput: the file or the key is missing, or no continuation works.
        ModelUnavailable: the server does not answer.
    """
    if isinstance(source, FileSource):
        return describe_file(source.file, folder)
    if isinstance(source, ServiceSource) and source.service.server is None:
        return await describe_anthropic(source, role, variable, connections)
    return await describe_server(source, role, variable, connections)


def describe_file(file: Path | HubFile, folder: Path) -> Document:
    section = file_section(file, folder)
    template = read_chat(local_path(file)).template
    if template:
        section["system"] = SYSTEM
        if "enable_thinking" in template.source:
            section["thinking_off"] = ThinkingOff.TEMPLATE.value
    return section


def file_section(file: Path | HubFile, folder: Path) -> Document:
    """Place, context and threads of a file.

    Raises:
        InvalidInput: the file is missing or damaged, or the hub does not deliver it.
    """
    path = local_path(file)
    check_file(path)
    metadata = read_metadata(path)
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    context = min(CONTEXT, trained) if isinstance(trained, int) and trained >= 64 else CONTEXT
    large = {"threads": os.cpu_count() or 1} if path.stat().st_size > SMALL else {}
    place = relative_path(file, folder) if isinstance(file, Path) else str(file)
    return {"gguf": place, "context": context, **large}


def relative_path(path: Path, folder: Path) -> str:
    """A path relative to a folder; an absolute path is unchanged."""
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


async def describe_anthropic(
    source: ServiceSource, role: str, variable: str | None, connections: Connections
) -> Document:
    section: Document = {"api": "anthropic", "model": source.model}
    section["key_variable"] = variable or source.service.variable
    choices = [{**section, "continuation": mode.value} for mode in AnthropicModel.modes]
    return await first_working(choices, role, connections)


async def describe_server(
    source: ServerSource | ServiceSource, role: str, variable: str | None, connections: Connections
) -> Document:
    section: Document = {"api": "openai"}
    if isinstance(source, ServiceSource):
        section |= {"server": source.service.server, "url": source.service.url}
        section |= {"model": source.model, "key_variable": variable or source.service.variable}
    else:
        section["url"] = source.url
        key = {"key_variable": variable} if variable else {}
        section |= await identify_server(source, role, key, connections)
    choices = list(possible_modes(section))
    found = await first_working(choices, role, connections)
    if not DIALECTS[found["server"]].log_probabilities and await reports_log_probabilities(
        found, role, connections
    ):
        found["log_probabilities"] = True
    return found


async def identify_server(
    source: ServerSource, role: str, key: Document, connections: Connections
) -> Document:
    """The kind of a server, its model and its concurrency."""
    draft = {"api": "openai", "url": source.url, "model": "-", "continuation": "user_turn", **key}
    server = make_server(validate(OpenAIServed, draft, role), role)
    connections.append(server)
    found = await discover(server)
    model = source.model or only_model(found, source.url, f"{source.url}#MODEL")
    # Each open connection takes a thread of llama.cpp's server.
    slots = {"concurrency": found.slots} if found.slots else {}
    return {"server": found.kind, "model": model, **key, **slots}


def possible_modes(section: Document) -> Iterator[Document]:
    """The section with each continuation that its server may take, best first.

    Plain text comes last: a chat model answers it as well, but worse.
    """
    modes = DIALECTS[section["server"]].modes
    for mode in modes:
        if mode is not Continuation.COMPLETIONS:
            yield {**section, "continuation": mode.value, "system": SYSTEM}
        elif hub_template(section["model"]):
            more = {"template": section["model"], "system": SYSTEM}
            yield {**section, "continuation": mode.value, **more}
    if Continuation.COMPLETIONS in modes:
        yield {**section, "continuation": Continuation.COMPLETIONS.value}


def hub_template(model: str) -> ChatTemplate | None:
    """The chat template of a model on the hub; None if it cannot be fetched."""
    try:
        return read_chat_template(model)
    except (InvalidInput, MissingExtra, OSError):
        return None


async def first_working(choices: list[Document], role: str, connections: Connections) -> Document:
    """The first section with which the model continues a text.

    If that is unclear for all, the section with which the model solves most small problems.

    Raises:
        InvalidInput: none works; the reason is that of the first.
        ModelUnavailable: the server does not answer.
    """

    def model_of(choice: Document) -> WritingModel:
        model = make_model(for_trial(section_of(choice, role)), role)
        connections.append(model)
        return model

    try:
        working = await working_choices(choices, model_of, with_thinking_off)
    except InvalidInput as error:
        raise InvalidInput(f"{role}: {error}") from error
    if len(working) == 1:
        return working[0]
    able = [await count_right_steps(model_of(choice)) for choice in working]
    return working[able.index(max(able))]


def with_thinking_off(choice: Document) -> Document | None:
    """The choice with thinking disabled; None where it is, or cannot be."""
    dialect = DIALECTS.get(choice.get("server", ""))
    if dialect is None or dialect.thinking_off is None or "thinking_off" in choice:
        return None
    return {**choice, "thinking_off": dialect.thinking_off.value}


async def count_right_steps(model: Model) -> int:
    """The number of small problems that the model solves."""
    drafts = [
        draft
        for kind in KINDS
        for draft in await write_drafts(
            model, kind.exercises(BATCH // 4), Sampling(max_tokens=TOKENS), 0
        )
    ]
    return sum(draft.right for draft in drafts)


async def reports_log_probabilities(section: Document, role: str, connections: Connections) -> bool:
    """Whether a server reports log-probabilities on request."""
    model = make_model(for_trial(section_of({**section, "log_probabilities": True}, role)), role)
    connections.append(model)
    try:
        step = await model.write_step(Prefix("What is 1 + 1?"), Sampling(max_tokens=8), 0)
    except TrimError:
        return False
    return step.log_probability is not None


def section_of(document: Document, role: str) -> WritingSection:
    if "gguf" in document:
        return validate(GgufSection, document, role)
    if document["api"] == "anthropic":
        return validate(AnthropicServed, document, role)
    return validate(OpenAIServed, document, role)


def validate(kind: type[AnySection], document: Document, role: str) -> AnySection:
    """The section of a document. Raises InvalidInput if a value is invalid."""
    try:
        return kind(**document)
    except ValidationError as error:
        raise InvalidInput(f"{role}: {first_error(error, document)}") from None
