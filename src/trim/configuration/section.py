"""The base of all configuration sections, and the wording of validation errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
AtOnce = Annotated[int, Field(ge=1, le=10_000)]
"""Of what is held in memory or sent at the same time."""
Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Section(BaseModel):
    """A mapping with fixed names; the error for an unknown name suggests the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and cls.model_config.get("extra") == "forbid":
            for name in given:
                if name not in cls.model_fields:
                    raise invalid(
                        f"no setting {str(name)!r}; {nearest(str(name), cls.model_fields)}"
                    )
        return given


INVALID = "invalid_setting"
"""Pydantic's type of the errors that `invalid` makes."""


def invalid(message: str) -> PydanticCustomError:
    """A validation error with its whole message."""
    return PydanticCustomError(INVALID, "{message}", {"message": message})


def nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"the nearest is {close[0]!r}" if close else f"known: {', '.join(known)}"


def one_of(known: Mapping[str, Any]) -> Callable[[str], str]:
    """A validator that accepts the known names only."""

    def check(name: str) -> str:
        if name not in known:
            raise invalid(f"{name!r} is none of {', '.join(known)}")
        return name

    return check


def variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        # The message leaves the name out: it may be the key itself, put here by mistake.
        raise invalid("must be the name of an environment variable, in capitals, as in STRONG_KEY")
    return name


VariableName = Annotated[str, AfterValidator(variable_name)]

MESSAGES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping of names to values",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be greater than or equal to {ge:g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be less than or equal to {le:g}",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must match {pattern}",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}
"""Messages by pydantic's types of errors, with places for the values of their `ctx`."""
LONGEST = 60
"""Characters of a value that a message repeats."""


def first_error(
    error: ValidationError, document: Any, renamed: Mapping[tuple[str, ...], str] | None = None
) -> str:
    """The first error in one line: where it is, and what would be right.

    Args:
        document: what was validated.
        renamed: old names that the user wrote, by the place of the setting in `document`.
    """
    details = error.errors(include_url=False)[0]
    where = place(details["loc"], document, renamed or {})
    return f"{where}: {message_of(details)}" if where else message_of(details)


def message_of(details: ErrorDetails) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == INVALID:
        return str(context["message"])
    if kind == "missing":
        return "is missing"
    shown = repr(given) if isinstance(given, str | int | float) else ""
    if kind in ("enum", "literal_error"):
        # "'fail' or 'keep'" of text, and "<Fallback.FAIL: 'fail'>" of an enumeration.
        known = ", ".join(re.findall(r"'([^']*)'", context["expected"]))
        return f"{shown} is none of {known}" if shown else f"must be one of {known}"
    message = MESSAGES[kind].format(**context) if kind in MESSAGES else details["msg"]
    return f"{shown}: {message}" if shown and len(shown) <= LONGEST else message


def place(
    names: tuple[int | str, ...], document: Any, renamed: Mapping[tuple[str, ...], str]
) -> str:
    """The place of an error as the user wrote it, without pydantic's names of union members."""
    shown: list[str] = []
    path: tuple[str, ...] = ()
    for name in names:
        if isinstance(name, str) and (name.startswith("<") or name in ("bool", "str")):
            continue
        if isinstance(name, int) and isinstance(document, dict):
            continue
        path = (*path, str(name))
        shown.append(renamed.get(path, str(name)))
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and isinstance(name, int) and name < len(document):
            document = document[name]
        else:
            document = None
    return ".".join(shown)
