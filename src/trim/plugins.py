"""Parts that other packages add by entry points: policies, models, scorers, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from trim.errors import InvalidInput, TrimError
from trim.terminal import one_line


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; of two with one name, the first."""
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=group):
        found.setdefault(entry_point.name, entry_point)
    return found


def find_plugin(group: str, name: str) -> Any | None:
    """The object that an installed package registers under `name`; None without one.

    Args:
        group: entry-point group, as `trim.models`.

    Raises:
        InvalidInput: the entry point cannot be loaded.
    """
    entry_point = installed(group).get(name)
    if entry_point is None:
        return None
    try:
        return entry_point.load()
    except Exception as error:
        reason = describe(error)
        raise InvalidInput(f"{group}: the plug-in {name!r} cannot be loaded: {reason}") from error


def plugin_names(group: str) -> list[str]:
    """The names that installed packages register, sorted."""
    return sorted(installed(group))


def make_plugin(group: str, name: str, settings: Mapping[str, Any], kind: str, method: str) -> Any:
    """Call the plug-in `name` with keyword arguments.

    Args:
        kind: what it must return, for errors: `model` or `scorer`.
        method: that its result must have beside `name`.

    Raises:
        InvalidInput: no installed package registers it, it cannot be loaded, it does not take these
            settings or fails with them, or it returns something else.
    """
    make = find_plugin(group, name)
    if make is None:
        known = ", ".join(plugin_names(group)) or "none"
        raise InvalidInput(f"{group}: no plug-in {name!r} is installed; installed: {known}")
    made = call_plugin(lambda: make(**settings), f"{group}: {name!r}", "these settings")
    lacking = [] if hasattr(made, "name") else ["name"]
    if not callable(getattr(made, method, None)):
        lacking.append(method)
    if lacking:
        raise InvalidInput(f"{group}: {name!r} is not a {kind}: it lacks {' and '.join(lacking)}")
    return made


def call_plugin(make: Callable[[], Any], plugin: str, given: str) -> Any:
    """The result of another package's code.

    Args:
        plugin: the plug-in, for errors.
        given: what it is called with, for errors: `these settings`.

    Raises:
        InvalidInput: it does not take what it is given, or fails.
        TrimError: its own, which say what would be right.
    """
    try:
        return make()
    except TrimError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{plugin} does not take {given}: {describe(error)}") from error
    except Exception as error:
        raise InvalidInput(f"{plugin} fails with {given}: {describe(error)}") from error


def describe(error: Exception) -> str:
    """Type and message of an error of another package, in one line."""
    return one_line(f"{type(error).__name__}: {error}")
