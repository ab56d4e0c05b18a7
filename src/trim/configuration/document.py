"""A configuration file as plain dictionaries, lists and values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from trim.errors import InvalidInput


class Loader(yaml.SafeLoader):
    """YAML in which no name may stand twice."""


def construct_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    pairs = loader.construct_pairs(node, deep=True)
    names = [name for name, _ in pairs]
    for position, (name, (key, _)) in enumerate(zip(names, node.value, strict=True)):
        if not isinstance(name, str):
            raise yaml.MarkedYAMLError(problem="a name is no text", problem_mark=key.start_mark)
        if name in names[:position]:
            raise yaml.MarkedYAMLError(
                problem=f"{name!r} stands twice", problem_mark=key.start_mark
            )
    return dict(pairs)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct_mapping)


def read_document(path: Path) -> dict[str, Any]:
    """What a file in YAML (.yaml, .yml) or TOML (.toml) holds.

    Raises:
        InvalidInput: unreadable, of another kind, or no such document.
    """
    if path.suffix not in (".yaml", ".yml", ".toml"):
        raise InvalidInput(f"{path}: a configuration is a .yaml or a .toml file")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: no readable configuration ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: a configuration is text in UTF-8") from error
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else parse(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path}: no TOML: {error}") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: no YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path}: a configuration begins with names, as in `weak:`")
    return document


def parse(text: str) -> Any:
    """A text in YAML. Raises ValueError with its mistake in one line, which quotes no value."""
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("it cannot be read") from error
