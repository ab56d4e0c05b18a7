"""What all parts of a configuration have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
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
