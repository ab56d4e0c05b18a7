"""Events of a solution under way, as `Router.events` yields them. Steps count from 1."""

from __future__ import annotations

from dataclasses import dataclass

from trim.types import Action, Author, Step, Trace


@dataclass(frozen=True)
class Drafted:
    """The weak model drafted a step."""

    index: int
    text: str
    tokens: int


@dataclass(frozen=True)
class SpanWritten:
    """A part of the step was written; `text` follows that of the spans before it.

    Attributes:
        tokens: decoded tokens, those of `dropped` included.
        dropped: what a draft went on with before it was stopped: the doubtful token.
    """

    index: int
    author: Author
    text: str
    tokens: int
    dropped: str = ""


@dataclass(frozen=True)
class Scored:
    """The newest version of the step was scored, in [0, 1]."""

    index: int
    score: float


@dataclass(frozen=True)
class Decided:
    """The policy decided about the newest version. After RESTART, steps count from 1 again."""

    index: int
    action: Action


@dataclass(frozen=True)
class Regenerated:
    """A stronger model rewrote the step, or the end of it: with two models, the strong one."""

    index: int
    text: str
    tokens: int
    author: Author = Author.STRONG


@dataclass(frozen=True)
class Kept:
    """The step was appended to the solution; only a restart removes it."""

    index: int
    step: Step


@dataclass(frozen=True)
class Finished:
    """The solution ended."""

    trace: Trace


Event = Drafted | SpanWritten | Scored | Decided | Regenerated | Kept | Finished
