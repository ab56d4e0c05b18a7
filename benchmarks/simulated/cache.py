"""A prefix cache in blocks, as vLLM keeps one: what was read or written is not read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence


class PrefixCache:
    """Remembers whole blocks of tokens, each together with all before it.

    Args:
        block: tokens of a block.
        capacity: blocks that are kept; the one that was used the longest ago goes first.
    """

    def __init__(self, block: int, capacity: int) -> None:
        self.block = block
        self.capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def cached(self, tokens: Sequence[str]) -> int:
        """Tokens at the beginning that need not be read: whole blocks, never the last token."""
        found = 0
        for key in self._keys(tokens[:-1]):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            found += self.block
        return found

    def keep(self, tokens: Sequence[str]) -> None:
        if not self.capacity:
            return
        # The last block first: of a sequence, its end is to be forgotten before its beginning.
        for key in reversed(list(self._keys(tokens))):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.capacity:
            self._blocks.popitem(last=False)

    def _keys(self, tokens: Sequence[str]) -> Iterator[int]:
        key = 0
        for end in range(self.block, len(tokens) + 1, self.block):
            key = hash((key, *tokens[end - self.block : end]))
            yield key
