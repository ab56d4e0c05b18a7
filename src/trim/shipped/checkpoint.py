"""A GGUF model as a checkpoint that Hugging Face's tools, vLLM and SGLang read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from trim.shipped.gguf_model import EMBEDDING, NORM, Floats, GgufCheckpoint

SMALLEST_HEAD = 32
"""Smallest head size of vLLM's attention on a CPU."""
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.content }}"
    "{% if message.role == 'user' %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)
"""Renders a chat as plain text: question, blank line, answer."""


def checkpoint_of(model: GgufCheckpoint) -> dict[str, bytes]:
    """The files of a checkpoint by name."""
    return {
        "config.json": as_json(configuration(model)),
        "generation_config.json": as_json({"bos_token_id": model.begin, "eos_token_id": model.end}),
        "model.safetensors": save(weights(model), {"format": "pt"}),
        "tokenizer.json": as_json(tokenizer(model)),
        "tokenizer_config.json": as_json(tokenizer_configuration(model)),
    }


def as_json(record: Any) -> bytes:
    return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


def widening(model: GgufCheckpoint) -> int:
    """The factor that heads are widened by to reach `SMALLEST_HEAD`."""
    return -(-SMALLEST_HEAD * model.heads // model.width)


def configuration(model: GgufCheckpoint) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(model.tokens),
        "hidden_size": model.width,
        "intermediate_size": model.feed_forward,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.heads,
        "head_dim": model.width // model.heads * widening(model),
        "max_position_embeddings": model.context,
        "rms_norm_eps": model.norm_epsilon,
        # Older readers take the base from the first field, newer ones from the second.
        "rope_theta": model.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_base},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": model.begin,
        "eos_token_id": model.end,
        "torch_dtype": "float32",
    }


def weights(model: GgufCheckpoint) -> dict[str, Floats]:
    """All tensors by Hugging Face's names, as 32-bit floats.

    Heads are widened by zeros. Rotary positions turn pair i of a head of size d by
    base^(-2i/d) at each position (RoFormer, arXiv 2104.09864, eq. 15), so pair i of a head
    f times as wide as d stands where pair f i is. Attention divides by the root of the
    size (arXiv 1706.03762, eq. 1), so the queries are scaled by the root of f.
    """
    heads, factor = model.heads, widening(model)
    named = {
        "model.embed_tokens.weight": model.tensors[EMBEDDING],
        "model.norm.weight": model.tensors[NORM],
    }
    for block in range(model.layers):
        for source, target in LAYER_NAMES.items():
            tensor = model.tensors[f"blk.{block}.{source}"]
            if source in ("attn_q", "attn_k"):
                tensor = halves(tensor, heads, factor)
            if source == "attn_q":
                tensor = tensor * np.float32(factor**0.5)
            if source == "attn_v":
                tensor = padded(tensor, heads, factor)
            if source == "attn_output":
                tensor = padded(tensor.T, heads, factor).T
            named[f"model.layers.{block}.{target}.weight"] = np.ascontiguousarray(tensor)
    return named


def halves(matrix: Floats, heads: int, factor: int) -> Floats:
    """Rows of queries or keys in Hugging Face's order, each head `factor` times as wide.

    GGUF has the two rows of a pair side by side; here one is in the first half of the head
    and the other in the second.

    Args:
        matrix: (heads size, width).
    """
    rows, width = matrix.shape
    pairs = matrix.reshape(heads, rows // heads // 2, 2, width)
    wide = np.zeros((heads, 2, rows // heads // 2, factor, width), np.float32)
    wide[:, :, :, 0] = pairs.swapaxes(1, 2)
    return wide.reshape(rows * factor, width)


def padded(matrix: Floats, heads: int, factor: int) -> Floats:
    """Rows of each head, zeros after them; `matrix` is (heads size, width)."""
    rows, width = matrix.shape
    wide = np.zeros((heads, factor, rows // heads, width), np.float32)
    wide[:, 0] = matrix.reshape(heads, rows // heads, width)
    return wide.reshape(rows * factor, width)


def tokenizer(model: GgufCheckpoint) -> dict[str, Any]:
    """The `tokenizer.json` of the library `tokenizers`; it splits text as llama.cpp does."""
    begin = model.tokens[model.begin]
    first = {"SpecialToken": {"id": begin, "type_id": 0}}
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(index, model.tokens[index]) for index in model.control],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                first,
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {begin: {"id": begin, "ids": [model.begin], "tokens": [begin]}},
        },
        "decoder": byte_level,
        "model": pair_model(
            {token: index for index, token in enumerate(model.tokens)}, model.merges
        ),
    }


def added_token(index: int, token: str, special: bool = True) -> dict[str, Any]:
    """A control token in the format of the library `tokenizers`."""
    return {
        "id": index,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def pair_model(vocabulary: Mapping[str, int], merges: Sequence[str]) -> dict[str, Any]:
    """A byte-level BPE model in the format of the library `tokenizers`."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": dict(vocabulary),
        "merges": list(merges),
    }


def tokenizer_configuration(model: GgufCheckpoint) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": model.tokens[model.begin],
        "eos_token": model.tokens[model.end],
        "unk_token": model.tokens[model.unknown],
        "model_max_length": model.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
