"""Fills reference/api.md from what `trim` exports, a section for each part of the package."""

from __future__ import annotations

import inspect

PAGE = "reference/api"
PARTS = {
    "trim.router": "Router",
    "trim.config": "Router",
    "trim.costs": "Router",
    "trim.shipped": "Router",
    "trim.models": "Models",
    "trim.engines": "Models",
    "trim.scorers": "Scorers",
    "trim.policies": "Policies",
    "trim.types": "Solutions",
    "trim.events": "Events",
    "trim.errors": "Errors",
}
ORDER = [*dict.fromkeys(PARTS.values()), "Further names"]


def part_of(found: object) -> str:
    """The section for an exported object, by the module that defines it."""
    module = getattr(found, "__module__", "")
    for prefix, part in PARTS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return part
    return ORDER[-1]


def directive(name: str, found: object) -> str:
    if inspect.isclass(found):
        lines = [f"autoclass:: trim.{name}", "   :members:", "   :show-inheritance:"]
    elif callable(found):
        lines = [f"autofunction:: trim.{name}"]
    else:
        lines = [f"autodata:: trim.{name}"]
    return "```{eval-rst}\n.. " + "\n".join(lines) + "\n```\n"


def fill(app, docname, source) -> None:
    if docname != PAGE:
        return
    import trim

    parts: dict[str, list[str]] = {part: [] for part in ORDER}
    for name in trim.__all__:
        found = getattr(trim, name)
        parts[part_of(found)].append(directive(name, found))
    for part, directives in parts.items():
        if directives:
            source[0] += "\n".join((f"\n## {part}\n", *directives))


def keep_whole(app, what, name, obj, options, lines) -> None:
    """Napoleon takes what stands before a colon in a property's docstring for its type."""
    if what in ("property", "attribute") and lines:
        lines[0] = f": {lines[0]}"


def setup(app):
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", keep_whole, priority=100)
    return {"parallel_read_safe": True}
