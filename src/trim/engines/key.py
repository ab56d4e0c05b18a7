"""API keys: from an argument, an environment variable or a file, and never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from trim.errors import InvalidInput
from trim.files import read_text

LONGEST = 64 * 1024
"""Bytes of a key file."""


@dataclass(frozen=True)
class Key:
    """A key that no repr, log or error shows.

    Attributes:
        secret: the key itself.
        source: where it came from, for errors.
    """

    secret: str = field(repr=False)
    source: str

    def hide(self, text: str) -> str:
        """`text` without the key, since some servers quote the request in an error."""
        return text.replace(self.secret, "***")


def read_key(variable: str | None = None, file: Path | None = None) -> Key | None:
    """The key in an environment variable or, where none is named, in a file.

    Raises:
        InvalidInput: the variable is not set, the file is unreadable, or there is no key in it.
    """
    if variable:
        secret, source = os.environ.get(variable, ""), f"the environment variable {variable}"
    elif file:
        try:
            secret, source = read_text(file, LONGEST), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{file}: no readable key file; it holds the key and nothing else"
            ) from error
    else:
        return None
    return checked_key(secret, source)


def find_key(key: str | Key | None, variable: str | None, usual: str | None = None) -> Key | None:
    """The key that a caller passes, or that of an environment variable.

    Args:
        key: the key itself.
        variable: environment variable that must hold it, where `key` is None.
        usual: variable that is read where neither is given, if it is set.

    Raises:
        InvalidInput: `variable` is not set, or there is no key in it.
    """
    if key is None:
        return read_key(variable or (usual if usual and os.environ.get(usual) else None))
    return key if isinstance(key, Key) else checked_key(key, "the argument `key`")


def checked_key(secret: str, source: str) -> Key:
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidInput(f"{source} holds no key; it should hold the key and nothing else")
    return Key(secret, source)
