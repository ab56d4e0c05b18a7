"""When the strong model reads what has been kept, before it is asked to write."""

from __future__ import annotations

from enum import StrEnum


class Warming(StrEnum):
    """After which kept steps the strong model's cache is filled in the background."""

    NEVER = "never"
    ALWAYS = "always"
    LIKELY = "likely"
    """After those that the policy has its doubts about (`Policy.is_doubtful`)."""
