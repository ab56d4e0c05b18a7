"""The texts of a GGUF file's tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trim.engines.gguf import read_metadata

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A token of one byte in SentencePiece's vocabularies."""
BLANK = "▁"
"""A blank in those."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, as the file spells them.

    Attributes:
        byte_level: whether each character of a token stands for a byte, as in GPT-2's.
    """

    tokens: Sequence[str]
    byte_level: bool

    def text(self, ids: Iterable[int]) -> str:
        """The text of tokens; characters that are not whole are replaced."""
        return b"".join(map(self.spelling, ids)).decode("utf-8", "replace")

    def spelling(self, token: int) -> bytes:
        """The bytes of one token; IndexError for an id that there is not."""
        spelled = self.tokens[token]
        if self.byte_level:
            return b"".join(
                bytes([BYTES[each]]) if each in BYTES else each.encode() for each in spelled
            )
        if match := BYTE.fullmatch(spelled):
            return bytes([int(match[1], 16)])
        return spelled.replace(BLANK, " ").encode()


def byte_characters() -> dict[str, int]:
    """Bytes by the characters that stand for them in GPT-2's vocabulary: printable ones for
    themselves, the others by those from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTES = byte_characters()


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary of a file. Raises InvalidInput where it cannot be read or is damaged."""
    metadata = read_metadata(path)
    tokens = metadata.get("tokenizer.ggml.tokens") or ()
    return Vocabulary(tokens, metadata.get("tokenizer.ggml.model") == "gpt2")
