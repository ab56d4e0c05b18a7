"""Names of version 0.1 that are still read: roles of models, keys of configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")

INTERMEDIATE = "intermediate"
OLD_ROLES = ("between", "middle")
CONFIGURATION_KEYS = {
    ("between",): INTERMEDIATE,
    ("prices", "between"): INTERMEDIATE,
    ("routing", "fallbacks", "between"): INTERMEDIATE,
    ("routing", "warming"): "prefill",
}
"""Present names of settings by the paths of 0.1."""


def current_role(role: str) -> str:
    """`intermediate-1` for `middle-1` and `between-1`; other roles are unchanged."""
    name, dash, number = role.partition("-")
    return f"{INTERMEDIATE}{dash}{number}" if name in OLD_ROLES else role


def current_roles(record: Mapping[str, Value]) -> dict[str, Value]:
    """The same values by present roles."""
    return {current_role(role): value for role, value in record.items()}


def current_path(names: tuple[str, ...]) -> tuple[str, ...]:
    """The present path of a setting."""
    for path, name in CONFIGURATION_KEYS.items():
        if names[: len(path)] == path:
            return (*path[:-1], name, *names[len(path) :])
    return names


def current_configuration(document: Any, path: tuple[str, ...] = ()) -> Any:
    """A configuration, or the part of one at `path`, with present names.

    Raises:
        ValueError: it sets both the old and the present name.
    """
    if not isinstance(document, Mapping):
        return document
    renamed: dict[str, Any] = {}
    for name, value in document.items():
        here = (*path, name)
        *_, current = current_path(here)
        if current != name and current in document:
            raise ValueError(f"{'.'.join(here)} is the old name of {current}; set {current} alone")
        renamed[current] = current_configuration(value, here)
    return renamed


def old_keys(document: Any) -> dict[tuple[str, ...], str]:
    """The old names that a configuration uses, by the present path of the setting."""
    found = {}
    for path in CONFIGURATION_KEYS:
        value = document
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            found[current_path(path)] = path[-1]
    return found


def current_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` or `bank.json` records of a configuration, with present names."""
    current = dict(record)
    for name in ("models", "prompts"):
        if isinstance(record.get(name), Mapping):
            current[name] = current_roles(record[name])
    if "configuration" in record:
        current["configuration"] = current_configuration(record["configuration"])
    return current
