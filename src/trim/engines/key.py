"""A key for a server: it comes from the environment or a file, and is never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from trim.errors import InvalidInput


@dataclass(frozen=True)
class Key:
    """A key that no repr, log or error shows.

    Attributes:
        secret: the key itself.
        source: where it came from, for errors: an environment variable or a file.
    """

    secret: str = field(repr=False)
    source: str

    def hide(self, text: str) -> str:
        """`text` without the key, for servers that repeat in an error what they were sent."""
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
            secret, source = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{file}: no readable key file; it holds the key and nothing else"
            ) from error
    else:
        return None
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidInput(f"{source} holds no key; it should hold the key and nothing else")
    return Key(secret, source)
