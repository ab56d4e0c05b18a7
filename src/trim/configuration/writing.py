"""A model as a configuration names it, made ready to write."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from trim.configuration.model import AnthropicServed, GgufFile, GgufModel, OpenAIServed, Served
from trim.configuration.scorer import LabelFile
from trim.configuration.section import Section
from trim.engines.gguf import read_chat
from trim.engines.http import HttpServer
from trim.engines.key import Key, read_key
from trim.engines.llama_cpp import LlamaCppEngine, check_file
from trim.engines.patience import Patience
from trim.errors import InvalidInput
from trim.models.anthropic import AnthropicModel, anthropic_server
from trim.models.chat_template import ChatTemplate, read_chat_template
from trim.models.dialect import find_dialect
from trim.models.llama_cpp import LlamaCppModel
from trim.models.openai import OpenAIModel
from trim.models.prompt import Prompt

WritingModel = LlamaCppModel | OpenAIModel | AnthropicModel
WritingSection = GgufModel | OpenAIServed | AnthropicServed
Part = TypeVar("Part", bound=Section)

HASTY_ATTEMPTS = 2
"""Whoever looks whether a server is there does not wait for it to come back."""


def make_model(
    section: WritingSection,
    role: str,
    slots: int | None = None,
    exact: bool = False,
    entropy: bool = False,
    prompt: Prompt | None = None,
) -> WritingModel:
    """The model of a section.

    Args:
        role: what a file without a name of its own is called.
        slots: in place of the section's, for a file.
        exact: repeat every character from run to run; only a file can.
        entropy: have it tell the entropy of each step's first token, if it can.
        prompt: what is read around a question; None for the section's own.

    Raises:
        InvalidInput: a file, a key or a chat template is missing or damaged.
        ModelUnavailable: llama.cpp cannot load the file.
    """
    prompt = prompt or section.prompt(Prompt())
    if isinstance(section, GgufModel):
        template = template_of(section)
        if prompt.system and template is None:
            raise InvalidInput(
                f"{section.gguf.name}: a system message needs a chat template, and the file has"
                " none; leave the system message out, or name a template"
            )
        begins = template is not None and read_chat(section.gguf).adds_begin
        return LlamaCppModel(
            make_engine(section, slots, exact),
            section.name or role,
            entropy,
            template,
            prompt,
            section.thinking_off,
            begins,
        )
    if exact:
        raise InvalidInput(f"--exact: {role} is on a server, which may not repeat itself exactly")
    if isinstance(section, AnthropicServed):
        return AnthropicModel(
            anthropic_server(
                key_of(section, role),
                section.url,
                concurrency=section.concurrency,
                patience=patience_of(section),
            ),
            section.model,
            section.continuation,
            section.name,
            prompt,
            section.extra_body,
        )
    return OpenAIModel(
        make_server(section, role),
        section.model,
        section.continuation,
        find_dialect(section.server),
        section.name,
        template_of(section),
        prompt,
        section.thinking_off,
        section.log_probabilities,
        entropy,
        section.token_ids,
        section.extra_body,
    )


def template_of(section: WritingSection | LabelFile) -> ChatTemplate | None:
    """The chat template that a model reads its question by; None for plain text."""
    if isinstance(section, AnthropicServed):
        return None
    if isinstance(section, GgufFile):
        check_file(section.gguf)
        if section.template is True:
            return read_chat(section.gguf).template
    return read_chat_template(section.template) if isinstance(section.template, str) else None


def make_engine(section: GgufFile, slots: int | None = None, exact: bool = False) -> LlamaCppEngine:
    return LlamaCppEngine(
        section.gguf, slots or section.slots, section.context, section.threads, exact
    )


def make_server(section: Served, role: str) -> HttpServer:
    return HttpServer(section.url, key_of(section, role), section.concurrency, patience_of(section))


def patience_of(section: Served) -> Patience:
    return Patience(seconds=section.timeout, attempts=section.attempts)


def key_of(section: Served, role: str) -> Key | None:
    """Raises InvalidInput where the key that is named is missing."""
    file: Path | None = section.key_file
    if file and not file.is_file():
        # Its name is not repeated: somebody may have put the key itself here.
        raise InvalidInput(f"{role}.key_file: no such file; it holds the key and nothing else")
    return read_key(section.key_variable, file)


def hasty(section: Part) -> Part:
    """The section with few attempts, for trials."""
    if not isinstance(section, Served):
        return section
    return section.model_copy(update={"attempts": min(section.attempts, HASTY_ATTEMPTS)})
