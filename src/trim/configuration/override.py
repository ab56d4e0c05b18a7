"""Values that the command line or the environment puts in place of a file's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trim.configuration.document import parse
from trim.errors import InvalidInput

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
