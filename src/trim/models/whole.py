"""Writing an answer whole, in one request, as the engine answers any chat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trim.errors import InvalidInput
from trim.models.model import Completion, Ending, Model, Sampling, Turn
from trim.types import Usage

OnText = Callable[[str], bool]
"""Called with each piece of an answer as it is decoded, maybe in another thread. True ends the
answer before the piece."""


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


class Pieces:
    """The pieces of an answer under way, each of one token at least.

    Attributes:
        count: number of pieces.
        is_ended: whether the limit or `on_text` ended the answer.
    """

    def __init__(self, request: WholeRequest, on_text: OnText) -> None:
        self.limit = math.inf if request.limit is None else request.limit
        self.on_text = on_text
        self.is_ended = False
        self._texts: list[str] = []

    def take(self, text: str) -> bool:
        """Pass a piece on; returns whether the answer ends before it.

        It does where an engine writes more tokens than were requested.
        """
        self.is_ended = self.is_ended or self.count >= self.limit or self.on_text(text)
        if not self.is_ended:
            self._texts.append(text)
        return self.is_ended

    @property
    def count(self) -> int:
        return len(self._texts)

    @property
    def text(self) -> str:
        return "".join(self._texts)


class WholeStream(Protocol):
    """A stream of a whole answer that has been read.

    Attributes:
        ending: None where it did not end by itself.
    """

    pieces: Pieces
    ending: Ending | None

    @property
    def usage(self) -> Usage: ...

    def completion(self, seconds: float) -> Completion:
        """The answer, for which the stream took so long."""
        usage = self.usage
        return Completion(
            text=self.pieces.text,
            ending=self.ending or Ending.LENGTH,
            tokens=usage.tokens,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            seconds=seconds,
        )


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


def require_whole(model: Model) -> WholeModel:
    """The same model. Raises InvalidInput if it writes no whole answers."""
    if not isinstance(model, WholeModel):
        raise InvalidInput(f"{model.name} writes steps only, no whole answer; name another model")
    return model
