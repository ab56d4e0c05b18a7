"""API keys: from an argument, an environment variable or a file, and never shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
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
        """`text` without the key, since some servers quote the request in an error.

        A key of at least `LONG` characters is found in any case, with characters escaped as in
        JSON, URLs and HTML, and with white space or backslashes between them.
        """
        if len(self.secret) < LONG:
            return text.replace(self.secret, "***")
        return self._spelled.sub("***", text)

    @cached_property
    def _spelled(self) -> re.Pattern[str]:
        return re.compile(r"[\s\\]*".join(map(spellings, self.secret)), re.IGNORECASE)


LONG = 8
"""Characters of a key from which on it is not a common word."""


def spellings(character: str) -> str:
    """A pattern of an ASCII character, plain or escaped."""
    code = ord(character)
    number = f"{code:02x}"
    escapes = (f"u00{number}", f"x{number}", f"%(?:25)*{number}", f"&#(?:x0*{number}|0*{code});")
    return f"(?:{'|'.join((re.escape(character), *escapes))})"


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
