"""A tiny process reward model with random weights, as a checkpoint that vLLM serves."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, HIDDEN, HEADS, LAYERS, CONTEXT = 64, 128, 2, 2, 512
TAG = "<extra_0>"


def write_reward_checkpoint(folder: Path, tokenizer: Path, seed: int = 0) -> int:
    """Write a `Qwen2ForProcessRewardModel` with the tokenizer of another checkpoint.

    Returns:
        The id of the step tag, which the tokenizer gains.
    """
    folder.mkdir(parents=True)
    record = json.loads((tokenizer / "tokenizer.json").read_text())
    tag = len(record["model"]["vocab"])
    record["added_tokens"].append({**record["added_tokens"][0], "id": tag, "content": TAG})
    (folder / "tokenizer.json").write_text(json.dumps(record))
    settings = (tokenizer / "tokenizer_config.json").read_text()
    (folder / "tokenizer_config.json").write_text(settings)
    (folder / "config.json").write_text(json.dumps(configuration(tag + 1)))
    tensors = weights(tag + 1, np.random.default_rng(seed))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return tag


def configuration(vocabulary: int) -> dict:
    return {
        "architectures": ["Qwen2ForProcessRewardModel"],
        "model_type": "qwen2",
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_labels": 2,
        "torch_dtype": "float32",
    }


def weights(vocabulary: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    def draw(*shape: int, scale: float = 0.15) -> np.ndarray:
        return random.normal(0, scale, shape).astype(np.float32)

    tensors = {
        "model.embed_tokens.weight": draw(vocabulary, WIDTH, scale=1.0),
        "model.norm.weight": np.ones(WIDTH, np.float32),
        "score.0.weight": draw(WIDTH, WIDTH, scale=0.3),
        "score.0.bias": draw(WIDTH),
        "score.2.weight": draw(2, WIDTH, scale=0.3),
        "score.2.bias": draw(2),
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{name}{norm}.weight"] = np.ones(WIDTH, np.float32)
        for part in "qkv":
            tensors[f"{name}self_attn.{part}_proj.weight"] = draw(WIDTH, WIDTH)
            tensors[f"{name}self_attn.{part}_proj.bias"] = draw(WIDTH)
        tensors[f"{name}self_attn.o_proj.weight"] = draw(WIDTH, WIDTH)
        tensors[f"{name}mlp.gate_proj.weight"] = draw(HIDDEN, WIDTH)
        tensors[f"{name}mlp.up_proj.weight"] = draw(HIDDEN, WIDTH)
        tensors[f"{name}mlp.down_proj.weight"] = draw(WIDTH, HIDDEN)
    return tensors
