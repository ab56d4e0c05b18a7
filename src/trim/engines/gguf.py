"""GGUF metadata: the chat template, the tokens that it names, and the vocabulary."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from trim.engines.chat_template import ChatTemplate
from trim.errors import InvalidInput
from trim.files import open_file, sha256_of

NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Formats of Python's `struct` by GGUF's types of numbers."""
STRING, ARRAY = 8, 9
LONGEST, DEEPEST = 1 << 24, 4
"""Bytes of a string or entries of an array, and arrays within arrays, beyond which a file counts as
damaged."""
SPECIAL = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True)
class Chat:
    """How the model of a file reads a chat.

    Attributes:
        template: None where the file has none.
        adds_begin: whether llama.cpp adds the BOS token to a prompt by itself.
    """

    template: ChatTemplate | None
    adds_begin: bool


def read_chat(path: Path) -> Chat:
    """The chat template of a GGUF file, of any version from 2 up.

    Raises:
        InvalidInput: the file cannot be read, or its header is damaged.
    """
    metadata = read_metadata(path)
    source = metadata.get("tokenizer.chat_template")
    begins = metadata.get("tokenizer.ggml.add_bos_token")
    if begins is None:
        kind = str(metadata.get("tokenizer.ggml.pre") or metadata.get("tokenizer.ggml.model"))
        begins = kind.startswith("llama")
    if not isinstance(source, str):
        return Chat(None, bool(begins))
    tokens = tokens_in(metadata)
    ids = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in SPECIAL}
    special = {
        f"{name}_token": tokens[number]
        for name, number in ids.items()
        if isinstance(number, int) and 0 <= number < len(tokens)
    }
    return Chat(ChatTemplate(source, special, path.name), bool(begins))


def read_metadata(path: Path) -> Mapping[str, Any]:
    """The key-value pairs in the header of a GGUF file, without those in `UNUSED`.

    The header of an unchanged file is read once.

    Raises:
        InvalidInput: the file cannot be read, or its header is damaged.
    """
    return read_header(*state_of(path))


def digest_of(path: Path) -> str:
    """sha256 of a file; that of an unchanged file is computed once.

    Raises:
        InvalidInput: the file cannot be read.
    """
    return computed(*state_of(path))


def state_of(path: Path) -> tuple[Path, int, int]:
    """Resolved path, size and time of the last change, in nanoseconds.

    Raises:
        InvalidInput: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidInput(f"{path}: no readable model file ({error.strerror})") from error
    return path.resolve(), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=32)
def computed(path: Path, size: int, changed: int) -> str:
    """`digest_of` a file in this state (`state_of`)."""
    return sha256_of(path)


UNUSED = ("tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
"""Large arrays that are not kept in memory."""


@lru_cache(maxsize=8)
def read_header(path: Path, size: int, changed: int) -> Mapping[str, Any]:
    """`read_metadata` of a file in this state (`state_of`).

    The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """
    try:
        with open_file(path) as file:
            if file.read(4) != b"GGUF":
                raise InvalidInput(f"{path}: not a GGUF file; name another one")
            _, _, count = (number(file, form) for form in "IQQ")
            pairs = ((text(file), value(file, number(file, "I"))) for _ in range(count))
            return {name: content for name, content in pairs if name not in UNUSED}
    except OSError as error:
        raise InvalidInput(f"{path}: no readable model file ({error.strerror})") from error
    except (struct.error, ValueError, KeyError) as error:
        raise InvalidInput(f"{path}: the header of this GGUF file is damaged") from error


def value(file: BinaryIO, kind: int, depth: int = 0) -> Any:
    if kind == STRING:
        return text(file)
    if kind == ARRAY:
        inner, length = number(file, "I"), bounded(number(file, "Q"))
        if inner in NUMBERS:
            size = length * struct.calcsize(f"<{NUMBERS[inner]}")
            return struct.unpack(f"<{length}{NUMBERS[inner]}", read(file, size))
        if depth == DEEPEST:
            raise ValueError("arrays are nested too deeply")
        return [value(file, inner, depth + 1) for _ in range(length)]
    return number(file, NUMBERS[kind])


def number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def text(file: BinaryIO) -> str:
    return read(file, bounded(number(file, "Q"))).decode("utf-8", "replace")


def bounded(length: int) -> int:
    if length > LONGEST:
        raise ValueError(length)
    return length


def read(file: BinaryIO, size: int) -> bytes:
    """The next bytes; ValueError where the file has fewer, before any memory is taken."""
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError("the file is cut short")
    return file.read(size)


BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A token of one byte in SentencePiece's vocabularies."""
BLANK = "▁"
"""Stands for a blank there."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, as the file spells them.

    Attributes:
        byte_level: whether each character of a token stands for a byte, as in GPT-2's.
    """

    tokens: Sequence[str]
    byte_level: bool

    def sha256(self) -> str:
        """Of the tokens in their order."""
        spelled = "\0".join((str(self.byte_level), *self.tokens))
        return hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()

    def text(self, ids: Iterable[int]) -> str:
        """The text of tokens; incomplete characters are replaced."""
        return b"".join(map(self.spelling, ids)).decode("utf-8", "replace")

    def spelling(self, token: int) -> bytes:
        """The bytes of one token; IndexError for an unknown id."""
        spelled = self.tokens[token]
        if self.byte_level:
            return b"".join(
                bytes([BYTES[each]]) if each in BYTES else each.encode() for each in spelled
            )
        if match := BYTE.fullmatch(spelled):
            return bytes([int(match[1], 16)])
        return spelled.replace(BLANK, " ").encode()


def byte_characters() -> dict[str, int]:
    """Bytes by the characters that stand for them in GPT-2's vocabulary.

    Printable characters stand for themselves, those from U+0100 on for the other bytes, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {chr(byte): byte for byte in printable}
    return characters | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTES = byte_characters()


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary of a file. Raises InvalidInput where it cannot be read or is damaged."""
    metadata = read_metadata(path)
    return Vocabulary(tokens_in(metadata), metadata.get("tokenizer.ggml.model") == "gpt2")


def head_size(path: Path) -> int | None:
    """Numbers in a key of one attention head; None where the header does not say.

    Raises:
        InvalidInput: the file cannot be read, or its header is damaged.
    """
    metadata = read_metadata(path)
    model = metadata.get("general.architecture")
    size, width, heads = (
        metadata.get(f"{model}.{name}")
        for name in ("attention.key_length", "embedding_length", "attention.head_count")
    )
    if isinstance(size, int):
        return size
    if isinstance(width, int) and isinstance(heads, int) and heads > 0:
        return width // heads
    return None


def tokens_in(metadata: Mapping[str, Any]) -> Sequence[str]:
    """The tokens of a vocabulary; empty where there are none."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    sound = isinstance(tokens, list) and all(isinstance(each, str) for each in tokens)
    return tokens if sound and tokens else ()
