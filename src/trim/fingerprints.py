"""Which problems a fitted file has seen, so that nothing is evaluated on what it learned from.

A problem is known by a fingerprint of its bare question. A bank, and everything that is fitted to
one, keeps the fingerprints under the name `seen`; a file without them does not say.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Set
from pathlib import Path
from typing import Any

from trim.errors import InvalidInput
from trim.files import read_object

FIELD = "seen"
DIGITS = 16
"""Hexadecimal digits of a fingerprint: 64 bits, so that among a million problems the chance of
two with the same one is below one in ten million."""
FINGERPRINT = re.compile(f"[0-9a-f]{{{DIGITS}}}")

Seen = frozenset[str]
"""Fingerprints of questions; empty where nothing is known."""


def fingerprint(question: str) -> str:
    """The first 16 hexadecimal digits of the sha256 of a bare question, without outer space."""
    text = question.strip().encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:DIGITS]


def seen_field(seen: Set[str]) -> dict[str, list[str]]:
    """What a fitted file keeps of the problems that it has seen: a field, or nothing."""
    return {FIELD: sorted(seen)} if seen else {}


def seen_of(record: dict[str, Any], path: Path) -> Seen:
    """The inverse of `seen_field`, in the record of the file `path`.

    Raises:
        InvalidInput: what stands there are no fingerprints.
    """
    found = record.get(FIELD, [])
    if not isinstance(found, list) or not all(map(is_fingerprint, found)):
        raise InvalidInput(
            f"{path}: {FIELD!r} has to be a list of fingerprints, {DIGITS} hexadecimal digits each;"
            " fit it anew"
        )
    return frozenset(found)


def read_seen(path: Path) -> Seen:
    """What the JSON file of something fitted has seen; empty where it does not say.

    Raises:
        InvalidInput: unreadable, no JSON object, or no fingerprints.
    """
    try:
        record = read_object(path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: no JSON object") from error
    return seen_of(record, path)


def is_fingerprint(value: object) -> bool:
    return isinstance(value, str) and FINGERPRINT.fullmatch(value) is not None
