"""Fingerprints of training problems, to keep them out of evaluations.

A fingerprint is a hash of the bare question. A bank, and everything fitted to one, keeps them in
the field `seen`; for a file without it they are unknown.
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
"""Hexadecimal digits of a fingerprint: with 64 bits, the probability of a collision among a million
problems is below one in ten million."""
FINGERPRINT = re.compile(f"[0-9a-f]{{{DIGITS}}}")

Seen = frozenset[str]
"""Fingerprints of questions; empty if unknown."""


def fingerprint(question: str) -> str:
    """The first 16 hexadecimal digits of the sha256 of a bare question, without outer space."""
    text = question.strip().encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:DIGITS]


def seen_field(seen: Set[str]) -> dict[str, list[str]]:
    """The field of a fitted file with its training problems; nothing if there are none."""
    return {FIELD: sorted(seen)} if seen else {}


def seen_of(record: dict[str, Any], path: Path) -> Seen:
    """The inverse of `seen_field`, in the record of the file `path`.

    Raises:
        InvalidInput: the field does not hold fingerprints.
    """
    found = record.get(FIELD, [])
    if not isinstance(found, list) or not all(map(is_fingerprint, found)):
        raise InvalidInput(
            f"{path}: {FIELD!r} has to be a list of fingerprints, {DIGITS} hexadecimal digits each;"
            " fit it again"
        )
    return frozenset(found)


def read_seen(path: Path) -> Seen:
    """The training problems of a fitted JSON file; empty if unknown.

    Raises:
        InvalidInput: unreadable, not a JSON object, or not fingerprints.
    """
    try:
        record = read_object(path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InvalidInput(f"{path}: not a JSON object") from error
    return seen_of(record, path)


def is_fingerprint(value: object) -> bool:
    return isinstance(value, str) and FINGERPRINT.fullmatch(value) is not None
