"""The part of a configuration that describes a model, found out by asking it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from trim.checks.exercises import BATCH, KINDS, TOKENS, written
from trim.configuration.build import (
    WritingModel,
    WritingSection,
    fail_fast,
    make_model,
    make_server,
)
from trim.configuration.models import AnthropicServed, GgufSection, OpenAIServed
from trim.configuration.section import Section, first_error
from trim.engines.chat_template import ChatTemplate, read_chat_template
from trim.engines.gguf import read_chat, read_metadata
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
"""For models that take a system message, so that a solution is known to be at its end."""
CONTEXT = 4096
"""Tokens that a request to a GGUF file may have, unless its model takes fewer."""
SMALL = 100 << 20
"""Bytes of a file below which more than one thread does not pay."""
Document = dict[str, Any]
Made = TypeVar("Made", bound=Section)
Kept = list[object]
"""Whatever holds connections: it must not be forgotten before the event loop ends."""


async def describe(
    source: Source, role: str, variable: str | None, folder: Path, kept: Kept
) -> Document:
    """The section of a model.

    Args:
        variable: environment variable that holds its key; None for no key, or the service's usual
            one.
        folder: of the configuration, which a relative path is seen from.
        kept: what was reached is added.

    Raises:
        InvalidInput: the file or the key is missing, or no continuation works.
        ModelUnavailable: the server does not answer.
    """
    if isinstance(source, FileSource):
        return describe_file(source.path, folder)
    if isinstance(source, ServiceSource) and source.service.server is None:
        return await describe_anthropic(source, role, variable, kept)
    return await describe_server(source, role, variable, kept)


def describe_file(path: Path, folder: Path) -> Document:
    check_file(path)
    section = placed(path, folder)
    template = read_chat(path).template
    if template:
        section["system"] = SYSTEM
        if "enable_thinking" in template.source:
            section["thinking_off"] = ThinkingOff.TEMPLATE.value
    return section


def placed(path: Path, folder: Path) -> Document:
    """Where a file is, and what it may use."""
    metadata = read_metadata(path)
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    context = min(CONTEXT, trained) if isinstance(trained, int) and trained >= 64 else CONTEXT
    large = {"threads": os.cpu_count() or 1} if path.stat().st_size > SMALL else {}
    return {"gguf": seen_from(path, folder), "context": context, **large}


def seen_from(path: Path, folder: Path) -> str:
    """A path as it stands in a file of a folder; one from the root stays as it is."""
    return str(path) if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


async def describe_anthropic(
    source: ServiceSource, role: str, variable: str | None, kept: Kept
) -> Document:
    section: Document = {"api": "anthropic", "model": source.model}
    section["key_variable"] = variable or source.service.variable
    choices = [{**section, "continuation": mode.value} for mode in AnthropicModel.modes]
    return await first_working(choices, role, kept)


async def describe_server(
    source: ServerSource | ServiceSource, role: str, variable: str | None, kept: Kept
) -> Document:
    section: Document = {"api": "openai"}
    if isinstance(source, ServiceSource):
        section |= {"server": source.service.server, "url": source.service.url}
        section |= {"model": source.model, "key_variable": variable or source.service.variable}
    else:
        section["url"] = source.url
        key = {"key_variable": variable} if variable else {}
        section |= await identified(source, role, key, kept)
    choices = list(possible_modes(section))
    found = await first_working(choices, role, kept)
    if not DIALECTS[found["server"]].log_probabilities and await tells(found, role, kept):
        found["log_probabilities"] = True
    return found


async def identified(source: ServerSource, role: str, key: Document, kept: Kept) -> Document:
    """The kind of a server, the name of its model, and how many requests it works on together."""
    draft = {"api": "openai", "url": source.url, "model": "-", "continuation": "user_turn", **key}
    server = make_server(validated(OpenAIServed, draft, role), role)
    kept.append(server)
    found = await discover(server)
    model = source.model or only_model(found, source.url, f"{source.url}#MODEL")
    # Of llama.cpp's server each kept connection takes a thread.
    slots = {"concurrency": found.slots} if found.slots else {}
    return {"server": found.kind, "model": model, **key, **slots}


def possible_modes(section: Document) -> Iterator[Document]:
    """The section in each continuation that its server may take, the best first.

    Plain text is the last one to try, for a model that was trained on chats would answer it as
    well, only worse.
    """
    modes = DIALECTS[section["server"]].modes
    for mode in modes:
        if mode is not Continuation.COMPLETIONS:
            yield {**section, "continuation": mode.value, "system": SYSTEM}
        elif template_of_hub(section["model"]):
            more = {"template": section["model"], "system": SYSTEM}
            yield {**section, "continuation": mode.value, **more}
    if Continuation.COMPLETIONS in modes:
        yield {**section, "continuation": Continuation.COMPLETIONS.value}


def template_of_hub(model: str) -> ChatTemplate | None:
    """The chat template of a model on the hub; None where it cannot be had."""
    try:
        return read_chat_template(model)
    except (InvalidInput, MissingExtra, OSError):
        return None


async def first_working(choices: list[Document], role: str, kept: Kept) -> Document:
    """The first section by which the model goes on from a text.

    Where that is unclear for all, it is the one by which the model does most small problems.

    Raises:
        InvalidInput: none works; the reason is that of the first.
        ModelUnavailable: the server does not answer.
    """

    def model_of(choice: Document) -> WritingModel:
        model = make_model(fail_fast(section_of(choice, role)), role)
        kept.append(model)
        return model

    try:
        working = await working_choices(choices, model_of, without_thinking)
    except InvalidInput as error:
        raise InvalidInput(f"{role}: {error}") from error
    if len(working) == 1:
        return working[0]
    able = [await right_steps(model_of(choice)) for choice in working]
    return working[able.index(max(able))]


def without_thinking(choice: Document) -> Document | None:
    """The choice with thinking disabled; None where it is, or cannot be."""
    dialect = DIALECTS.get(choice.get("server", ""))
    if dialect is None or dialect.thinking_off is None or "thinking_off" in choice:
        return None
    return {**choice, "thinking_off": dialect.thinking_off.value}


async def right_steps(model: Model) -> int:
    """How many small problems of any kind the model does."""
    drafts = [
        draft
        for kind in KINDS
        for draft in await written(
            model, kind.exercises(BATCH // 4), Sampling(max_tokens=TOKENS), 0
        )
    ]
    return sum(draft.right for draft in drafts)


async def tells(section: Document, role: str, kept: Kept) -> bool:
    """Whether a server tells log-probabilities where it is asked for them."""
    model = make_model(fail_fast(section_of({**section, "log_probabilities": True}, role)), role)
    kept.append(model)
    try:
        step = await model.write_step(Prefix("What is 1 + 1?"), Sampling(max_tokens=8), 0)
    except TrimError:
        return False
    return step.log_probability is not None


def section_of(document: Document, role: str) -> WritingSection:
    if "gguf" in document:
        return validated(GgufSection, document, role)
    if document["api"] == "anthropic":
        return validated(AnthropicServed, document, role)
    return validated(OpenAIServed, document, role)


def validated(kind: type[Made], document: Document, role: str) -> Made:
    """Raises InvalidInput where the values do not fit the section."""
    try:
        return kind(**document)
    except ValidationError as error:
        raise InvalidInput(f"{role}: {first_error(error, document)}") from None
