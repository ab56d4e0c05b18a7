"""The tokens that stand behind a text which a model has read and written itself."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable

from trim.models.model import Prefix, Turn

Text = tuple[str, tuple[Turn, ...], str]


class TokenMemory:
    """Tokens by the prefix that they spell, the separator of its last step included.

    A text that is sent back may be cut into other tokens than those that were written; with
    the tokens themselves the model goes on from exactly what it has written.

    Args:
        size: prefixes that are remembered; the longest unused one is forgotten first.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self._tokens: OrderedDict[Text, array[int]] = OrderedDict()

    def remember(self, prefix: Prefix, tokens: Iterable[int]) -> None:
        self._tokens[spelled(prefix)] = array("i", tokens)
        self._tokens.move_to_end(spelled(prefix))
        while len(self._tokens) > self.size:
            self._tokens.popitem(last=False)

    def recall(self, prefix: Prefix) -> list[int] | None:
        """The tokens of a prefix; None where they are not known."""
        tokens = self._tokens.get(spelled(prefix))
        if tokens is None:
            return None
        self._tokens.move_to_end(spelled(prefix))
        return tokens.tolist()


def spelled(prefix: Prefix) -> Text:
    """What a prefix says, wherever its steps end."""
    return prefix.question, prefix.history, prefix.said
