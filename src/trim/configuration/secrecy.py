"""No key may be written into a configuration, for configurations are shown and kept."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from trim.errors import InvalidInput

NAMES = {
    *("key", "api_key", "apikey", "x_api_key", "secret", "password", "token", "access_token"),
    *("auth_token", "bearer", "bearer_token", "authorization", "proxy_authorization", "api_token"),
    *("client_secret", "secret_key", "credentials", "auth"),
}
"""Names that only keys have."""
LOOKS = re.compile(
    r"(?i:\bbearer\s+\S{16,})|\b(sk|pk)[-_][A-Za-z0-9_-]{12,}|\b(hf|gsk|ghp)_[A-Za-z0-9]{12,}"
    r"|\bxai-[A-Za-z0-9]{12,}"
)
"""What keys of well-known services look like."""
ADVICE = (
    "a key does not belong in a configuration; put it into an environment variable or a file, and"
    " name that: key_variable or key_file"
)


def refuse_keys(value: Any, place: str, names: tuple[str, ...] = ()) -> None:
    """Look for keys anywhere in a configuration.

    Raises:
        InvalidInput: there is one. The message holds no value.
    """
    where = f"{place}: {'.'.join(names)}" if names else place
    if isinstance(value, dict):
        for name, inner in value.items():
            plain = str(name).lower().replace("-", "_")
            if plain in NAMES and inner is not None:
                raise InvalidInput(f"{place}: {'.'.join((*names, str(name)))}: {ADVICE}")
            refuse_keys(inner, place, (*names, str(name)))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            refuse_keys(inner, place, (*names, str(position)))
    elif isinstance(value, str) and (LOOKS.search(value) or holds_credentials(value)):
        raise InvalidInput(f"{where}: {ADVICE}")


def holds_credentials(text: str) -> bool:
    """Whether a text is an address with a user or a password in it."""
    if "://" not in text or " " in text.strip():
        return False
    try:
        parts = urlsplit(text.strip())
    except ValueError:
        return False
    return bool(parts.username or parts.password)
