"""Parts that other packages add by entry points: policies, models, scorers, benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from trim.errors import InvalidInput


def find_plugin(group: str, name: str) -> Any | None:
    """The object that an installed package registers under `name`; None without one.

    Args:
        group: entry-point group, as `trim.models`.

    Raises:
        InvalidInput: the entry point cannot be loaded.
    """
    for entry_point in entry_points(group=group, name=name):
        try:
            return entry_point.load()
        except (ImportError, AttributeError) as error:
            raise InvalidInput(
                f"{group}: the plug-in {name!r} cannot be loaded: {error}"
            ) from error
    return None


def plugin_names(group: str) -> list[str]:
    """The names that installed packages register, sorted."""
    return sorted({entry_point.name for entry_point in entry_points(group=group)})


def make_plugin(group: str, name: str, settings: Mapping[str, Any]) -> Any:
    """Call the plug-in `name` with keyword arguments.

    Raises:
        InvalidInput: no installed package registers it, or it does not take these settings.
    """
    make = find_plugin(group, name)
    if make is None:
        known = ", ".join(plugin_names(group)) or "none"
        raise InvalidInput(f"{group}: no plug-in {name!r} is installed; installed: {known}")
    try:
        return make(**settings)
    except TypeError as error:
        raise InvalidInput(f"{group}: {name!r} does not take these settings: {error}") from error
