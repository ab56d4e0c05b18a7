"""What is wrong with a configuration, in one line."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

LONGEST = 60
"""Characters of a value that are repeated."""
WORDS = (
    ("Input should be", "must be"),
    ("Input should have", "must have"),
    ("Input should", "must"),
    ("a valid string", "text"),
    ("valid integer", "whole number"),
    ("valid number", "number"),
    ("valid boolean", "true or false"),
    ("valid dictionary", "group of names with values"),
    ("valid tuple", "list"),
    ("must be a whole number, unable to parse string as an integer", "must be a whole number"),
    ("must be a number, unable to parse string as a number", "must be a number"),
    ("must be a true or false, unable to interpret input", "must be true or false"),
)


def first_mistake(error: ValidationError, document: Any) -> str:
    """The first mistake that was found: where, and what would be right."""
    mistake = error.errors(include_url=False)[0]
    where = place(mistake["loc"], document)
    return f"{where}: {told(mistake)}" if where else told(mistake)


def told(mistake: Any) -> str:
    kind, given = mistake["type"], mistake["input"]
    if kind == "said":
        return str(mistake["ctx"]["message"])
    if kind == "missing":
        return "is missing"
    shown = repr(given) if isinstance(given, str | int | float) else ""
    if kind in ("enum", "literal_error"):
        known = re.sub(r"<\w+\.\w+: '?(\w+)'?>", r"\1", mistake["ctx"]["expected"])
        known = known.replace("'", "").replace(" or ", ", ")
        return f"{shown} is none of {known}" if shown else f"must be one of {known}"
    message = str(mistake["msg"])
    for theirs, ours in WORDS:
        message = message.replace(theirs, ours)
    message = re.sub(r" or instance of \w+", "", message)
    return f"{shown}: {message}" if shown and len(shown) <= LONGEST else message


def place(names: tuple[int | str, ...], document: Any) -> str:
    """Where it is, as a user wrote it: without what only this program calls a part."""
    shown: list[str] = []
    for name in names:
        if isinstance(name, str) and (name.startswith("<") or name in ("bool", "str")):
            continue
        if isinstance(name, int) and isinstance(document, dict):
            continue
        shown.append(str(name))
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and isinstance(name, int) and name < len(document):
            document = document[name]
        else:
            document = None
    return ".".join(shown)
