"""What a GGUF file says of itself: its chat template and the tokens that the template names."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trim.errors import InvalidInput
from trim.models.chat_template import ChatTemplate

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
"""Types of numbers, by GGUF's own and by Python's `struct`."""
STRING, ARRAY = 8, 9
LONGEST = 1 << 30
"""Bytes of a string, or entries of an array, beyond which a file is damaged."""
SPECIAL = ("bos", "eos", "unk", "pad")


@dataclass(frozen=True)
class Chat:
    """How a chat is put to the model of a file.

    Attributes:
        template: None where the file has none.
        adds_begin: whether llama.cpp puts the token that begins a text before a text of its own
            accord.
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
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    ids = {name: metadata.get(f"tokenizer.ggml.{name}_token_id") for name in SPECIAL}
    special = {
        f"{name}_token": tokens[number]
        for name, number in ids.items()
        if isinstance(number, int) and 0 <= number < len(tokens)
    }
    return Chat(ChatTemplate(source, special, path.name), bool(begins))


def read_metadata(path: Path) -> dict[str, Any]:
    """The key-value pairs in the header of a GGUF file.

    The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

    Raises:
        InvalidInput: the file cannot be read, or its header is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise InvalidInput(f"{path}: no GGUF file; name another one")
            _, _, count = (number(file, form) for form in "IQQ")
            return {text(file): value(file, number(file, "I")) for _ in range(count)}
    except OSError as error:
        raise InvalidInput(f"{path}: no readable model file ({error.strerror})") from error
    except (struct.error, ValueError, KeyError, MemoryError) as error:
        raise InvalidInput(f"{path}: the header of this GGUF file is damaged") from error


def value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return text(file)
    if kind == ARRAY:
        inner, length = number(file, "I"), bounded(number(file, "Q"))
        if inner in NUMBERS:
            form = f"<{length}{NUMBERS[inner]}"
            return struct.unpack(form, file.read(struct.calcsize(form)))
        return [value(file, inner) for _ in range(length)]
    return number(file, NUMBERS[kind])


def number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def text(file: BinaryIO) -> str:
    return file.read(bounded(number(file, "Q"))).decode("utf-8", "replace")


def bounded(length: int) -> int:
    if length > LONGEST:
        raise ValueError(length)
    return length
