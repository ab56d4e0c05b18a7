"""Checkpoints of Hugging Face calculated with numpy alone, to compare engines with."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


class ReferenceTransformer:
    """A folder's network of llama's or Qwen2's architecture, in 64-bit floats.

    RMS norm (arXiv 1910.07467), rotary positions by halves (arXiv 2104.09864), SwiGLU
    (arXiv 2002.05202). Shapes: T tokens, H heads, S size of a head.
    """

    def __init__(self, folder: Path) -> None:
        self.configuration = json.loads((folder / "config.json").read_text())
        self.tensors = {
            name: tensor.astype(np.float64)
            for name, tensor in load_file(folder / "model.safetensors").items()
        }

    def hidden(self, tokens: list[int]) -> np.ndarray:
        """(T, width), after the last norm."""
        x = self.tensors["model.embed_tokens.weight"][tokens]
        for layer in range(self.configuration["num_hidden_layers"]):
            name = f"model.layers.{layer}."
            x = x + self.attention(name + "self_attn.", self.norm(name + "input_layernorm", x))
            normed = self.norm(name + "post_attention_layernorm", x)
            gate = self.linear(name + "mlp.gate_proj", normed)
            up = self.linear(name + "mlp.up_proj", normed)
            x = x + self.linear(name + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        return self.norm("model.norm", x)

    def next_token(self, tokens: list[int]) -> np.ndarray:
        """Log-probabilities (vocabulary,) of the token after these."""
        logits = self.tensors["model.embed_tokens.weight"] @ self.hidden(tokens)[-1]
        return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())

    def right(self, tokens: list[int], tag: int) -> list[float]:
        """A reward model's probability of class 1 at each tag."""
        rows = self.hidden(tokens)[[index for index, token in enumerate(tokens) if token == tag]]
        logits = self.linear("score.2", np.maximum(self.linear("score.0", rows), 0))
        return list(1 / (1 + np.exp(logits[:, 0] - logits[:, 1])))

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.tensors[name + ".weight"].T + self.tensors.get(name + ".bias", 0.0)

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        mean = (x**2).mean(-1, keepdims=True)
        epsilon = self.configuration["rms_norm_eps"]
        return x / np.sqrt(mean + epsilon) * self.tensors[name + ".weight"]

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        heads = self.configuration["num_attention_heads"]
        query, key, value = (
            self.linear(f"{name}{part}_proj", x).reshape(len(x), heads, -1).swapaxes(0, 1)
            for part in "qkv"
        )
        weights = self.rotate(query) @ self.rotate(key).swapaxes(1, 2)
        weights = weights / np.sqrt(query.shape[-1])
        weights = np.where(np.tri(len(x), dtype=bool), weights, -np.inf)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ value
        return self.linear(name + "o_proj", mixed.swapaxes(0, 1).reshape(len(x), -1))

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """(H, T, S), turned by position."""
        half = x.shape[-1] // 2
        base = self.configuration["rope_parameters"]["rope_theta"]
        angle = np.outer(np.arange(x.shape[1]), base ** (-np.arange(half) / half))
        first, second = x[..., :half], x[..., half:]
        turned = (
            first * np.cos(angle) - second * np.sin(angle),
            first * np.sin(angle) + second * np.cos(angle),
        )
        return np.concatenate(turned, -1)
