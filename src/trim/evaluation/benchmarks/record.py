"""One record of a data file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trim.errors import InvalidInput
from trim.steps import boxed_answer


@dataclass(frozen=True)
class Record:
    """Fields and values.

    Attributes:
        place: file and line (or row, from 1), for errors.
        number: of the record, from 0.
    """

    values: Mapping[str, Any]
    place: str
    number: int

    def boxed(self, name: str) -> str:
        r"""What stands in the last `\boxed{}` of a field.

        Raises:
            InvalidInput: as `text`, or there is no box, or nothing in it.
        """
        answer = boxed_answer(self.text(name))
        if not answer:
            raise InvalidInput(rf"{self.place}: field {name!r} has no \boxed{{}} with the answer")
        return answer

    def text(self, *names: str) -> str:
        """The field of the first of `names` that the record has, as text without outer spaces.

        A list of one entry counts as that entry.

        Raises:
            InvalidInput: it has none of them, or that one holds no text.
        """
        name = next((name for name in names if name in self.values), None)
        if name is None:
            wanted = " or ".join(repr(name) for name in names)
            raise InvalidInput(
                f"{self.place}: has no field {wanted}; it has {', '.join(self.values) or 'none'}"
            )
        value = self.values[name]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidInput(
                f"{self.place}: field {name!r} holds no text or number, but"
                f" {type(value).__name__}; name another field"
            )
        if not str(value).strip():
            raise InvalidInput(f"{self.place}: field {name!r} is empty; every problem needs one")
        return str(value).strip()
