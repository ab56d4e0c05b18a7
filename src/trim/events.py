"""What the router reports while it solves a problem. Steps count from 1."""

from __future__ import annotations

from dataclasses import dataclass

from trim.types import Action, Author, Step, Trace


@dataclass(frozen=True)
class Drafted:
    """The weak model has drafted a step."""

    index: int
    text: str
    tokens: int


@dataclass(frozen=True)
class Scored:
    """What was written last has its score, in [0, 1]."""

    index: int
    score: float


@dataclass(frozen=True)
class Decided:
    """The policy has decided about what was written last; after RESTART steps count from 1 anew."""

    index: int
    action: Action


@dataclass(frozen=True)
class Regenerated:
    """A model above has written the step: the strong one, unless there are more than two."""

    index: int
    text: str
    tokens: int
    author: Author = Author.STRONG


@dataclass(frozen=True)
class Kept:
    """The step is part of the solution now, and will not change unless all is restarted."""

    index: int
    step: Step


@dataclass(frozen=True)
class Finished:
    """The solution has ended."""

    trace: Trace


Event = Drafted | Scored | Decided | Regenerated | Kept | Finished
