"""How the solution of a problem is continued and ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """What ends a solution, besides its limits."""

    BOX = "box"
    r"""A kept step with the answer in a `\boxed{}`, or the end token of its author."""
    MODEL = "model"
    """The end token alone; a box is text like any other."""


@dataclass(frozen=True)
class Rules:
    r"""How a solution goes on; docs/protocols.md has the rules of each protocol in one table.

    Whoever wrote the step that was *kept* decides, and a step that was cut at its token limit is
    always the last one.

    Attributes:
        ends: what ends a solution.
        open_box: with `End.BOX`, whether the words `boxed{` end it, closed or not.
        asks_on: whether an author that ended its text without a box is asked for another step.
        rejoins: whether steps are texts that are cut at the first blank line and joined again by
            one. Further line ends are then lost, and so is a step without content once the model
            has been asked again; else all bytes are kept.
        context: tokens that prompt and step may have together; None for the engine's own limit.
    """

    ends: End = End.BOX
    open_box: bool = False
    asks_on: bool = False
    rejoins: bool = False
    context: int | None = None
