"""A model in its place among those of a router."""

from __future__ import annotations

from dataclasses import dataclass

from trim.models.model import Model
from trim.trace import Author


@dataclass(frozen=True)
class Writer:
    """A model that writes steps.

    Attributes:
        level: its place among the models between weak and strong, from 1; 0 for these two.
    """

    author: Author
    model: Model
    level: int = 0

    @property
    def role(self) -> str:
        """Under which its tokens are counted: `weak`, `middle-1`, …, `strong`."""
        return f"{self.author}-{self.level}" if self.level else str(self.author)
