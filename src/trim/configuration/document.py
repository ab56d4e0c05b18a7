"""A configuration file as plain dictionaries, lists and values."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from trim.errors import InvalidInput
from trim.policies.calibrated import ROUTER
from trim.policies.registry import FITTED_FAMILIES


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


PREFIX = "TRIM_"
BETWEEN = "__"


@dataclass(frozen=True)
class Override:
    """One value.

    Attributes:
        names: where it belongs, from the outside in; a number is a place in a list.
        source: as the user knows it, for errors.
    """

    names: tuple[str, ...]
    value: Any
    source: str


def parse_override(text: str) -> Override:
    """`strong.url=http://…`, the value in YAML.

    Raises:
        InvalidInput: it is no such pair. The message holds no value, which may be a secret.
    """
    path, equals, value = text.partition("=")
    names = tuple(path.strip().split("."))
    if not equals or not all(names):
        raise InvalidInput(f"--set {path}: a name and a value, as in strong.url=http://host:8000")
    return Override(names, parsed(value, f"--set {path}"), f"--set {path.strip()}")


def overrides_in(environment: Mapping[str, str], known: Iterable[str]) -> list[Override]:
    """Those of variables such as `TRIM_STRONG__URL`; other variables are left alone.

    Args:
        known: names that a configuration begins with.
    """
    found = []
    for variable, value in sorted(environment.items()):
        first, *rest = variable.removeprefix(PREFIX).lower().split(BETWEEN)
        if variable.startswith(PREFIX) and first in known and all(rest):
            found.append(Override((first, *rest), parsed(value, variable), variable))
    return found


def parsed(text: str, source: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(f"{source}: the value is no YAML; quote it") from error


def overridden(document: Mapping[str, Any], override: Override) -> dict[str, Any]:
    """A copy of the document with one value in its place.

    Raises:
        InvalidInput: there is no such place in a list, or none below a plain value.
    """
    changed: dict[str, Any] = placed(dict(document), override.names, override)
    return changed


def placed(within: Any, names: tuple[str, ...], override: Override) -> Any:
    if not names:
        return override.value
    name, *rest = names
    if isinstance(within, list):
        if not name.isdecimal() or int(name) >= len(within):
            raise InvalidInput(
                f"{override.source}: {name!r} is no place in a list of {len(within)}, counted from"
                " 0"
            )
        changed = list(within)
        changed[int(name)] = placed(within[int(name)], tuple(rest), override)
        return changed
    if within is None:
        within = {}
    if not isinstance(within, dict):
        raise InvalidInput(f"{override.source}: {name!r} would stand below a plain value")
    return {**within, name: placed(within.get(name), tuple(rest), override)}


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
        if colon and file and family in (*FITTED_FAMILIES, ROUTER):
            return f"{family}:{change(file)}{at}{settings}"
    return value


def is_folder(text: str, changed: str) -> bool:
    return text.startswith((".", "/", "~")) or Path(changed).is_dir() or Path(text).is_absolute()


NAMES = {
    *("key", "api_key", "apikey", "x_api_key", "secret", "password", "token", "access_token"),
    *("auth_token", "bearer", "bearer_token", "authorization", "proxy_authorization", "api_token"),
    *("client_secret", "secret_key", "credentials", "auth"),
}
"""Names that only keys have."""
LOOKS = re.compile(
    r"(?i:\bbearer\s+\S{16,})|\b(sk|pk)[-_][A-Za-z0-9_-]{12,}|\b(hf|gsk|ghp)_[A-Za-z0-9]{12,}"
    r"|\bxai-[A-Za-z0-9]{12,}"
)
"""What keys of well-known services look like."""
ADVICE = (
    "a key does not belong in a configuration; put it into an environment variable or a file, and"
    " name that: key_variable or key_file"
)


def refuse_keys(value: Any, place: str, names: tuple[str, ...] = ()) -> None:
    """Look for keys anywhere in a configuration.

    Raises:
        InvalidInput: there is one. The message holds no value.
    """
    where = f"{place}: {'.'.join(names)}" if names else place
    if isinstance(value, dict):
        for name, inner in value.items():
            plain = str(name).lower().replace("-", "_")
            if plain in NAMES and inner is not None:
                raise InvalidInput(f"{place}: {'.'.join((*names, str(name)))}: {ADVICE}")
            refuse_keys(inner, place, (*names, str(name)))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            refuse_keys(inner, place, (*names, str(position)))
    elif isinstance(value, str) and (LOOKS.search(value) or holds_credentials(value)):
        raise InvalidInput(f"{where}: {ADVICE}")


def holds_credentials(text: str) -> bool:
    """Whether a text is an address with a user or a password in it."""
    if "://" not in text or " " in text.strip():
        return False
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return False
    return bool(parts.username or parts.password)
