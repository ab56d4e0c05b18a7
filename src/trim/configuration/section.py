"""What all parts of a configuration have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part with fixed names; a name that it does not know is refused with the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            for name in given:
                if name not in cls.model_fields:
                    raise said(f"no setting {str(name)!r}; {nearest(str(name), cls.model_fields)}")
        return given


def said(message: str) -> PydanticCustomError:
    """A mistake in the words that a user reads."""
    return PydanticCustomError("said", "{message}", {"message": message})


def nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"the nearest is {close[0]!r}" if close else f"known: {', '.join(known)}"


def one_of(known: Mapping[str, Any]) -> Callable[[str], str]:
    """A check that a name is among the known ones."""

    def check(name: str) -> str:
        if name not in known:
            raise said(f"{name!r} is none of {', '.join(known)}")
        return name

    return check


def variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        # The name is not repeated: somebody may have put the key itself here.
        raise said("must be the name of an environment variable, in capitals, as in STRONG_KEY")
    return name


VariableName = Annotated[str, AfterValidator(variable_name)]


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


def first_error(error: ValidationError, document: Any) -> str:
    """The first mistake that was found: where, and what would be right."""
    mistake = error.errors(include_url=False)[0]
    where = place(mistake["loc"], document)
    return f"{where}: {error_text(mistake)}" if where else error_text(mistake)


def error_text(mistake: Any) -> str:
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
