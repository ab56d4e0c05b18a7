"""Writing an answer whole, in one request, as the engine answers any chat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trim.models.model import Completion, Sampling, Turn

CHARACTERS_PER_TOKEN = 4
"""For estimating the tokens of a prompt whose usage is unknown."""
OnText = Callable[[str], bool]
"""Called with each piece of an answer as it is decoded, maybe in another thread. True ends the
answer there."""


@dataclass(frozen=True)
class WholeRequest:
    """A conversation whose answer is one text.

    Attributes:
        sampling: all but `max_tokens` applies.
        limit: maximum tokens of the answer; None for as many as the engine allows.
        stops: texts at which the answer ends, without them.
        prompted: whether the model's own prompt stands around the question (`trim.models.prompt`);
            otherwise the model reads the conversation alone.
    """

    question: str
    sampling: Sampling
    seed: int
    history: tuple[Turn, ...] = ()
    limit: int | None = None
    stops: tuple[str, ...] = ()
    prompted: bool = True

    @property
    def estimated_tokens(self) -> int:
        """About how many tokens the conversation has."""
        texts = (*(turn.text for turn in self.history), self.question)
        return sum(map(len, texts)) // CHARACTERS_PER_TOKEN


@runtime_checkable
class WholeModel(Protocol):
    """A model that writes whole answers."""

    async def write_whole(self, request: WholeRequest, on_text: OnText) -> Completion:
        """Write an answer; the pieces given to `on_text`, joined, are its text.

        The ending is `SOLUTION`, or `LENGTH` where a limit or `on_text` ended the answer.

        Raises:
            ContextExceeded, ModelUnavailable: as `Model.write_step`; possibly after some pieces.
        """
        ...
