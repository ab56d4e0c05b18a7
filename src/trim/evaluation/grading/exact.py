"""The same text, character by character."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """For answers that can be written in one way only."""

    def grade(self, answer: str | None, reference: str) -> bool:
        return answer == reference
