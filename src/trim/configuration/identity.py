"""What names the models of a configuration, so that nobody takes others for them."""

from __future__ import annotations

import hashlib

from trim.configuration.build import ReadingSection, WritingSection, reading_of, template_of
from trim.configuration.configuration import Configuration
from trim.configuration.models import AnthropicServed, GgufSection
from trim.configuration.scorers import JointSection, LabelFile, LabelSection, PoolingSection
from trim.engines.chat_template import read_chat_template
from trim.engines.gguf import read_chat
from trim.files import sha256_of
from trim.scorers.label import RIGHT, WRONG


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
            named["joint"] = sha256_of(section.weights)
    return named


def name_of(section: WritingSection) -> str:
    if isinstance(section, AnthropicServed):
        named = ["anthropic", section.model, section.continuation.value, digest(section.system)]
        return joined(*named, *turns_of(section))
    read = turns_of(section)
    if section.system:
        read.insert(0, f"system {digest(section.system)}")
    if section.thinking_off:
        read.append(f"thinking off by {section.thinking_off.value}")
    if isinstance(section, GgufSection):
        return joined(*name_of_file(section), *read)
    template = f"template {digest(source_of(section))}"
    return joined(
        "openai", section.server, section.model, section.continuation.value, template, *read
    )


def turns_of(section: WritingSection) -> list[str]:
    turns = {"user": section.user, "assistant": section.assistant}
    return [f"{name} {digest(text)}" for name, text in turns.items() if text]


def name_of_reader(section: ReadingSection) -> str:
    if isinstance(section, LabelFile):
        return joined(*name_of_file(section), *labels_of(section))
    template = read_chat_template(section.template).source if section.template else None
    read = [section.kind, section.model, f"template {digest(template)}"]
    if isinstance(section, PoolingSection):
        return joined(*read, f"tag {section.tag}", f"system {digest(section.system)}")
    return joined(*read, *labels_of(section))


def name_of_file(section: GgufSection | LabelFile) -> list[str]:
    """A file with its own template is named as in a folder of models, by its sha256 alone."""
    named, source = sha256_of(section.gguf), source_of(section)
    own = read_chat(section.gguf).template
    as_it_comes = source == (own.source if own else None)
    return [named] if as_it_comes else [named, f"template {digest(source)}"]


def source_of(section: WritingSection | LabelFile) -> str | None:
    template = template_of(section)
    return template.source if template else None


def labels_of(section: LabelSection | LabelFile) -> list[str]:
    usual = (section.right, section.wrong) == (RIGHT, WRONG)
    return [] if usual else [f"labels {section.right} {section.wrong}"]


def digest(text: str | None) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else "none"


def joined(*parts: str) -> str:
    return ", ".join(parts)
