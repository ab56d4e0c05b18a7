"""How long and how often a server is asked before a request counts as failed."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from trim.errors import InvalidInput


@dataclass(frozen=True)
class Patience:
    """Pauses grow by a factor of two, with jitter, so that clients do not come back at once.

    Attributes:
        seconds: that one request may take.
        attempts: times that a request is sent in all.
        pause: seconds before the second attempt, half of it by chance.
        longest: seconds that a pause may grow to.
        longest_wish: seconds that a server may wish to be left alone; a longer wish ends the
            request.
    """

    seconds: float = 300.0
    attempts: int = 8
    pause: float = 0.25
    longest: float = 20.0
    longest_wish: float = 300.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInput(f"attempts {self.attempts}: a request needs at least one")
        if not min(self.seconds, self.longest) > 0 or not self.pause >= 0:
            raise InvalidInput("a request's seconds and its longest pause must be above 0")

    def before(self, attempt: int) -> float:
        """Seconds to wait before an attempt, counted from 0, which need not wait."""
        if attempt == 0:
            return 0.0
        whole = min(self.pause * 2.0 ** min(attempt - 1, 60), self.longest)
        return whole * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server wishes to be left alone, at least 0 (RFC 9110, section 10.2.3).

    A number of seconds or a date; 0 where it says neither.
    """
    value = headers.get("Retry-After", "").strip()
    if value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(moment - time.time(), 0.0)
