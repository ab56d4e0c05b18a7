"""Write a trained network as GGUF, the file format of llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from training.network import NetworkShape
from training.tokenizer import BEGIN, END, SPECIAL_TOKENS

TENSOR_NAMES = {
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def read_shape(weights: Path) -> NetworkShape:
    """Read the network shape from the metadata of a weights file."""
    with safe_open(weights, "numpy") as file:
        metadata = file.metadata()
    fields = NetworkShape.__dataclass_fields__
    return NetworkShape(
        **{k: (float if fields[k].type == "float" else int)(v) for k, v in metadata.items()}
    )


def gguf_name(name: str) -> str:
    """`blocks.0.attention.query.weight` is `blk.0.attn_q.weight` in GGUF."""
    if name == "embedding.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{TENSOR_NAMES[rest.removesuffix('.weight')]}.weight"


def export(weights: Path, tokenizer: Tokenizer, path: Path, name: str) -> None:
    """Write `weights` (safetensors) and the tokenizer to one GGUF file, atomically.

    Matrices are stored as 16-bit floats, norms as 32-bit. Without an output matrix
    llama.cpp ties the output to the embedding, as the network does.
    """
    shape = read_shape(weights)
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name(name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer, tokenizer)
    for tensor_name, tensor in load_file(weights).items():
        stored = np.float16 if tensor.ndim == 2 else np.float32
        writer.add_tensor(gguf_name(tensor_name), tensor.astype(stored))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [
        gguf.TokenType.CONTROL if t in SPECIAL_TOKENS else gguf.TokenType.NORMAL for t in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(merges(tokenizer)))
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)


def merges(tokenizer: Tokenizer) -> list[str]:
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
