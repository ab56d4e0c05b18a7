"""Paths in a configuration: relative to its file, and again so where it is recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trim.policies.registry import FROM_FILE
from trim.policies.router_file import FAMILY as ROUTER

FILES = ("gguf", "key_file", "weights", "router", "curve", "belief")
"""Names that hold a path, wherever they stand."""
FREE = "extra_body"
"""Holds what a server is sent, whatever the names in it."""


def resolved(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The document with every path below `folder`, unless it begins at the root."""

    def beside(text: str) -> str:
        return str(folder / Path(text).expanduser())

    changed: dict[str, Any] = with_paths(document, beside)
    return changed


def relative(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The inverse of `resolved`, for every path that is there."""
    changed: dict[str, Any] = with_paths(
        document, lambda text: Path(os.path.relpath(text, folder)).as_posix()
    )
    return changed


def with_paths(value: Any, change: Callable[[str], str], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {
            inner: content if inner == FREE else with_paths(content, change, inner)
            for inner, content in value.items()
        }
    if isinstance(value, list):
        return [with_paths(content, change, name) for content in value]
    if not isinstance(value, str):
        return value
    if name in FILES:
        return change(value)
    if name == "template":
        # A model on the hub, `owner/name`, is no folder.
        return change(value) if is_folder(value, change(value)) else value
    if name == "policy":
        family, colon, rest = value.partition(":")
        file, at, settings = rest.rpartition("@") if "@" in rest else (rest, "", "")
        if colon and file and family in (*FROM_FILE, ROUTER):
            return f"{family}:{change(file)}{at}{settings}"
    return value


def is_folder(text: str, changed: str) -> bool:
    return text.startswith((".", "/", "~")) or Path(changed).is_dir() or Path(text).is_absolute()
