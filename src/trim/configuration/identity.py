"""Names that identify the models of a configuration: sha256 of files, names on servers, prompts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from trim.configuration.build import template_of
from trim.configuration.configuration import Configuration
from trim.configuration.models import (
    AnthropicServed,
    GgufSection,
    ModelSection,
    Plugin,
    PluginModel,
    WritingSection,
)
from trim.configuration.scorers import (
    JointSection,
    LabelFile,
    LabelSection,
    PluginScorer,
    PoolingSection,
    RewardModelSection,
    find_reward_model,
)
from trim.engines.chat_template import read_chat_template
from trim.engines.gguf import digest_of, read_chat
from trim.errors import InvalidInput
from trim.files import sha256_of
from trim.scorers.joint import NAME as NAME_OF_WEIGHTS
from trim.scorers.label import RIGHT, WRONG

LOCAL_SETTINGS = {
    *("url", "key_variable", "key_file", "concurrency", "timeout", "attempts"),
    *("gguf", "sha256", "weights", "template", "slots", "threads"),
    *("policy", "router", "prices", "server"),
}
"""Settings that may change while a run goes on, and those that its record holds elsewhere: the
sha256 of files and the policies."""


def identify(configuration: Configuration, kind: str | None) -> dict[str, str]:
    """By role, the sha256 of a file or the model's name on its server, without addresses.

    The name includes all that changes what a model reads: mode, chat template, system message.

    Args:
        kind: the kind of score; `joint` adds its weights.

    Raises:
        InvalidInput: a file or a chat template cannot be read.
    """
    writers: dict[str, ModelSection] = {
        "weak": configuration.weak,
        **{f"intermediate-{n}": each for n, each in enumerate(configuration.intermediate, 1)},
        "strong": configuration.strong,
    }
    names = {role: name_of(section) for role, section in writers.items()}
    if reward_model := find_reward_model(configuration.scorer):
        names["scorer"] = name_of_reward_model(reward_model)
    for section in configuration.scorer:
        if kind == "joint" and isinstance(section, JointSection):
            names["joint"] = sha256_of(section.weights)
    return names


def name_of(section: ModelSection) -> str:
    if isinstance(section, PluginModel):
        return name_of_plugin(section)
    if isinstance(section, AnthropicServed):
        parts = ["anthropic", section.model, section.continuation.value, digest(section.system)]
        return joined(*parts, *turns_of(section))
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


def name_of_reward_model(section: RewardModelSection) -> str:
    if isinstance(section, PluginScorer):
        return name_of_plugin(section)
    if isinstance(section, LabelFile):
        return joined(*name_of_file(section), *labels_of(section))
    template = read_chat_template(section.template).source if section.template else None
    parts = [section.kind, section.model, f"template {digest(template)}"]
    if isinstance(section, PoolingSection):
        return joined(*parts, f"tag {section.tag}", f"system {digest(section.system)}")
    return joined(*parts, *labels_of(section))


def name_of_plugin(section: Plugin) -> str:
    kept = {name: each for name, each in section.keywords.items() if name not in LOCAL_SETTINGS}
    keywords = json.dumps(kept, sort_keys=True, default=str)
    return joined("plugin", section.plugin, f"settings {digest(keywords)}")


def name_of_file(section: GgufSection | LabelFile) -> list[str]:
    """The sha256 alone for a file with its own template, as in a folder of models."""
    path, source = section.local_path(), source_of(section)
    name, own = digest_of(path), read_chat(path).template
    is_own = source == (own.source if own else None)
    return [name] if is_own else [name, f"template {digest(source)}"]


def source_of(section: WritingSection | LabelFile) -> str | None:
    template = template_of(section)
    return template.source if template else None


def labels_of(section: LabelSection | LabelFile) -> list[str]:
    is_default = (section.right, section.wrong) == (RIGHT, WRONG)
    return [] if is_default else [f"labels {section.right} {section.wrong}"]


def digest(text: str | None) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else "none"


def joined(*parts: str) -> str:
    return ", ".join(parts)


def identify_models(folder: Path, scorer: str = "prm") -> dict[str, str]:
    """sha256 of `weak.gguf`, `strong.gguf`, `scorer.gguf` and, for joint scores, `joint.json`.

    Args:
        scorer: the kind of score (`trim.scorers.scorer.KINDS`).

    Raises:
        InvalidInput: a file is missing or unreadable.
    """
    files = {role: folder / f"{role}.gguf" for role in ("weak", "strong", "scorer")}
    if scorer == "joint":
        files["joint"] = folder / NAME_OF_WEIGHTS
        if not files["joint"].exists():
            raise InvalidInput(
                f"{files['joint']}: joint scores need this file of weights; fit it with"
                f" `trim fit-scorer BANK --out {files['joint']}`"
            )
    return {role: sha256_of(path) for role, path in files.items()}
