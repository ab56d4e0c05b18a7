"""What a server means when it does not take a request."""

from __future__ import annotations

import json
import re
from typing import Any

from trim.errors import ContextExceeded, Refused, TrimError

TOO_LONG = re.compile(
    r"context (?:length|size|window|limit)|exceed_context|prompt is too long|must be <= \d+",
    re.IGNORECASE,
)
LIMIT = re.compile(
    r"(?:context (?:length|size|window)(?: is| of)?(?: only)? \(?|must be <= )(\d+)",
    re.IGNORECASE,
)
READ = re.compile(
    r"(\d+) (?:in the (?:messages|prompt)|input tokens|tokens from the input|`inputs` tokens)"
)
SHOWN = 300
"""Characters of a server's message that are shown."""


def refusal(name: str, status: int, body: str, key_source: str | None) -> TrimError:
    """The error for an answer with a status from 300 to 499 that asking again would not mend.

    Args:
        name: of the server, for the message.
        body: the answer, without any key.
        key_source: where the key came from; None without a key.
    """
    message = message_in(body)
    if TOO_LONG.search(message):
        limit, read = LIMIT.search(message), READ.search(message)
        room = int(limit[1]) - int(read[1]) if limit and read else None
        return ContextExceeded(f"{name}: {message}", room)
    if status in (401, 403):
        told = key_source or "no key was given; name its environment variable or file"
        return Refused(f"{name}: the key was not accepted ({told}): {status} {message}")
    if status < 400:
        return Refused(f"{name}: sends elsewhere ({status}); give the address where it ends")
    return Refused(f"{name}: {status} {message}")


def message_in(body: str) -> str:
    """The message in an error's body, in one line; the forms differ from server to server."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = body
    for name in ("error", "message", "detail"):
        while isinstance(found, dict) and found.get(name):
            found = found[name]
    return " ".join(str(found).split())[:SHOWN] or "without a reason"
