"""The contents of a small language model's GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trim.engines.llama_cpp import check_file
from trim.errors import InvalidInput, require_extra

Floats = np.ndarray[Any, np.dtype[np.float32]]

EMBEDDING, NORM = "token_embd", "output_norm"
BLOCK_TENSORS = (
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
)
"""Of each block, as `blk.0.attn_q.weight`."""
CONTROL = 3
"""The type of control tokens, which never come from text."""
TOKENIZER = ("gpt2", "gpt-2")
"""Byte-level BPE with GPT-2's splitting of words."""


@dataclass(frozen=True)
class GgufCheckpoint:
    """Sizes, tokenizer and weights.

    Attributes:
        context: maximum tokens of prompt and completion together.
        width, layers, heads, feed_forward: sizes of the network; a head has width / heads.
        rope_base: base of the rotary position embedding.
        norm_epsilon: epsilon of the RMS norms.
        tokens: the vocabulary, by id.
        merges: BPE merges in order of priority, as "a b".
        control: ids of control tokens.
        begin, end, unknown: ids; every text begins with `begin`.
        tensors: by GGUF's name without `.weight`; matrices are (outputs, inputs), and the
            embedding (tokens, width) gives the output as well.
    """

    context: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    rope_base: float
    norm_epsilon: float
    tokens: tuple[str, ...]
    merges: tuple[str, ...]
    control: tuple[int, ...]
    begin: int
    end: int
    unknown: int
    tensors: Mapping[str, Floats]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors."""
        width, hidden = self.width, self.feed_forward
        wide = {"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
        shapes: dict[str, tuple[int, ...]] = {
            EMBEDDING: (len(self.tokens), width),
            NORM: (width,),
        }
        for block in range(self.layers):
            for name in BLOCK_TENSORS:
                square = (width,) if name.endswith("norm") else (width, width)
                shapes[f"blk.{block}.{name}"] = wide.get(name, square)
        return shapes


def read_gguf(path: Path) -> GgufCheckpoint:
    """The model of a file.

    Raises:
        InvalidInput: missing, damaged, or not a model like the shipped ones.
        MissingExtra: the reader of GGUF is not installed.
    """
    with require_extra("export"):
        from gguf import GGUFReader
    check_file(path)
    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {
            tensor.name.removesuffix(".weight"): (tensor.tensor_type.name, np.array(tensor.data))
            for tensor in reader.tensors
        }
    except Exception as error:  # the reader has no errors of its own
        raise InvalidInput(f"{path}: damaged; reinstall or name another file") from error
    try:
        return model_of(fields, tensors)
    except KeyError as error:
        raise InvalidInput(
            f"{path}: lacks {error.args[0]}; only models like the shipped ones can be exported"
        ) from error
    except ValueError as error:
        raise InvalidInput(
            f"{path}: {error}; only models like the shipped ones can be exported"
        ) from error


def model_of(
    fields: Mapping[str, Any], tensors: Mapping[str, tuple[str, np.ndarray[Any, Any]]]
) -> GgufCheckpoint:
    """Raises KeyError for a field that is missing, ValueError where the model is another kind."""
    require("architecture", fields["general.architecture"], "llama")
    require("tokenizer", (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]), TOKENIZER)
    heads = fields["llama.attention.head_count"]
    require("key heads", fields.get("llama.attention.head_count_kv", heads), heads)
    require("a begin token", fields.get("tokenizer.ggml.add_bos_token", True), True)
    require("scaled positions", any("rope.scaling" in name for name in fields), False)
    for name, (kind, _) in tensors.items():
        if kind not in ("F16", "F32"):
            raise ValueError(f"tensor {name} is of the type {kind}, not F16 or F32")
    kinds = fields["tokenizer.ggml.token_type"]
    model = GgufCheckpoint(
        context=fields["llama.context_length"],
        width=fields["llama.embedding_length"],
        layers=fields["llama.block_count"],
        heads=heads,
        feed_forward=fields["llama.feed_forward_length"],
        rope_base=fields.get("llama.rope.freq_base", 10000.0),
        norm_epsilon=fields["llama.attention.layer_norm_rms_epsilon"],
        tokens=tuple(fields["tokenizer.ggml.tokens"]),
        merges=tuple(fields["tokenizer.ggml.merges"]),
        control=tuple(index for index, kind in enumerate(kinds) if kind == CONTROL),
        begin=fields["tokenizer.ggml.bos_token_id"],
        end=fields["tokenizer.ggml.eos_token_id"],
        unknown=fields["tokenizer.ggml.unknown_token_id"],
        tensors={name: weights.astype(np.float32) for name, (_, weights) in tensors.items()},
    )
    shapes = model.shapes()
    for name in sorted(shapes.keys() | tensors.keys()):
        found = model.tensors[name].shape if name in tensors else None
        require(f"tensor {name}", found, shapes.get(name))
    return model


def require(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ValueError(f"{what}: {found!r}, must be {wanted!r}")
