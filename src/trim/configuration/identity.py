"""What names the models of a configuration, so that nobody takes others for them."""

from __future__ import annotations

import hashlib
from typing import Any

from trim.bank.identity import fingerprint
from trim.configuration.configuration import Configuration
from trim.configuration.model import AnthropicServed, GgufFile, GgufModel
from trim.configuration.scorer import JointSection, LabelSection, PoolingSection
from trim.configuration.scoring import ReadingSection, reading_of
from trim.configuration.writing import WritingSection, template_of
from trim.engines.gguf import read_chat
from trim.models.chat_template import read_chat_template


def identify(configuration: Configuration, kind: str | None) -> dict[str, str]:
    """By role, the sha256 of a file, and what a server calls its model: never an address.

    Whatever changes what a model reads belongs to it: mode, chat template, system message.

    Args:
        kind: the kind of score; `joint` has its weights too.

    Raises:
        InvalidInput: a file or a chat template cannot be read.
    """
    writers: dict[str, WritingSection] = {
        "weak": configuration.weak,
        **{f"between-{place}": each for place, each in enumerate(configuration.between, 1)},
        "strong": configuration.strong,
    }
    named = {role: name_of(section) for role, section in writers.items()}
    if reading := reading_of(configuration.scorer):
        named["scorer"] = name_of_reader(reading)
    for section in configuration.scorer:
        if kind == "joint" and isinstance(section, JointSection):
            named["joint"] = fingerprint(section.weights)
    return named


def name_of(section: WritingSection) -> str:
    if isinstance(section, AnthropicServed):
        return joined(
            "anthropic", section.model, section.continuation.value, digest(section.system)
        )
    template = template_of(section)
    source = template.source if template else None
    read = [f"template {digest(source)}"]
    if section.system:
        read.append(f"system {digest(section.system)}")
    if section.thinking_off:
        read.append(f"thinking off by {section.thinking_off.value}")
    if isinstance(section, GgufModel):
        own = read_chat(section.gguf).template
        # As it comes, a file is named as a folder of models names it.
        as_it_comes = len(read) == 1 and source == (own.source if own else None)
        return joined(fingerprint(section.gguf), *([] if as_it_comes else read))
    return joined("openai", section.server, section.model, section.continuation.value, *read)


def name_of_reader(section: ReadingSection) -> str:
    if isinstance(section, GgufFile):
        return fingerprint(section.gguf)
    template = read_chat_template(section.template).source if section.template else None
    read: list[Any] = [section.kind, section.model, f"template {digest(template)}"]
    if isinstance(section, PoolingSection):
        read += [f"tag {section.tag}", f"system {digest(section.system)}"]
    if isinstance(section, LabelSection):
        read += [f"labels {section.right} {section.wrong}"]
    return joined(*read)


def digest(text: str | None) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else "none"


def joined(*parts: str) -> str:
    return ", ".join(parts)
