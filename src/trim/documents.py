"""JSON from outside: parsed within bounds, and with one kind of error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MOST_DIGITS = 300
"""Digits of an integer; a few more, and it is no floating-point number any more."""
DEEPEST = 100
"""Levels of lists and objects."""


def whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits; at most {MOST_DIGITS} are read")
    return int(digits)


def no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


BOUNDED = json.JSONDecoder(parse_int=whole_number)
FINITE = json.JSONDecoder(parse_int=whole_number, parse_constant=no_number)


def parse_json(text: str | bytes | bytearray, finite: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        text: bytes are UTF-8, with or without a byte order mark.
        finite: refuse NaN and Infinity, which other programs write though JSON has neither.

    Raises:
        ValueError: invalid, not UTF-8, nested more than `DEEPEST` levels deep, or an integer has
            more than `MOST_DIGITS` digits.
    """
    decoder = FINITE if finite else BOUNDED
    try:
        value = decoder.decode(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except RecursionError:
        raise too_deep() from None
    require_shallow(value)
    return value


def require_shallow(value: Any) -> None:
    """Raises ValueError if lists and mappings are nested more than `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for each in level for inner in containers_in(each)]
        if not level:
            return
    raise too_deep()


def containers_in(value: Any) -> Iterator[Any]:
    """The lists and mappings directly within a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (each for each in inner if isinstance(each, dict | list))


def too_deep() -> ValueError:
    return ValueError(f"nested more than {DEEPEST} levels deep")
