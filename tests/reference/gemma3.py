"""The `gemma3` architecture in numpy, float32, by GGUF's names and metadata: a truth for our models. Never shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np


def load(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The architecture's metadata, and all tensors, dequantised to f32 [rows, cols]."""
    import gguf  # pyright: ignore[reportMissingImports]

    reader = gguf.GGUFReader(path)
    metadata = {key: field.contents() for key, field in reader.fields.items() if key.startswith("gemma3.")}
    return metadata, {t.name: np.asarray(gguf.dequantize(t.data, t.tensor_type), np.float32) for t in reader.tensors}


def forward(
    metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray], ids: Sequence[int], *, stored: type = np.float32
) -> np.ndarray:
    """Logits f32 [T, V] of ids [T] at positions 0, 1, … stored: the type in which keys and values are kept."""
    width, eps = metadata["gemma3.embedding_length"], metadata["gemma3.attention.layer_norm_rms_epsilon"]
    x = tensors["token_embd.weight"][np.asarray(ids)] * np.float32(np.sqrt(width))
    for n in range(metadata["gemma3.block_count"]):
        block = {key.split(".", 2)[2]: value for key, value in tensors.items() if key.startswith(f"blk.{n}.")}
        attended = _attention(metadata, block, _norm(x, block["attn_norm.weight"], eps), n, stored)
        x = x + _norm(attended @ block["attn_output.weight"].T, block["post_attention_norm.weight"], eps)
        y = _norm(x, block["ffn_norm.weight"], eps)
        hidden = _gelu(y @ block["ffn_gate.weight"].T) * (y @ block["ffn_up.weight"].T)
        x = x + _norm(hidden @ block["ffn_down.weight"].T, block["post_ffw_norm.weight"], eps)
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return _norm(x, tensors["output_norm.weight"], eps) @ head.T


def _norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(eps)) * weight


def _gelu(x: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def _attention(
    metadata: Mapping[str, Any], block: Mapping[str, np.ndarray], x: np.ndarray, n: int, stored: type
) -> np.ndarray:
    near = (n + 1) % metadata.get("gemma3.attention.sliding_window_pattern", 6) != 0
    base = 10000.0 if near else metadata["gemma3.rope.freq_base"]
    eps, head_width = metadata["gemma3.attention.layer_norm_rms_epsilon"], metadata["gemma3.attention.key_length"]
    angle = np.arange(len(x))[:, None] * base ** (-np.arange(0, head_width, 2) / head_width)
    cos, sin = np.cos(angle).astype(np.float32)[:, None], np.sin(angle).astype(np.float32)[:, None]

    def heads(name: str) -> np.ndarray:
        y = (x @ block[f"attn_{name}.weight"].T).reshape(len(x), -1, head_width)
        if name == "v":
            return y
        a, b = np.split(_norm(y, block[f"attn_{name}_norm.weight"], eps), 2, -1)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    q, k, v = (heads(name) for name in "qkv")
    k, v = (part.astype(stored).astype(np.float32) for part in (k, v))
    key, query = np.arange(len(x)), np.arange(len(x))[:, None]
    window = metadata["gemma3.attention.sliding_window"] if near else len(x)
    seen = (key <= query) & (key > query - window)
    y = np.empty_like(q)
    for head in range(q.shape[1]):
        kv = head * k.shape[1] // q.shape[1]
        scores = np.where(seen, q[:, head] @ k[:, kv].T * np.float32(head_width**-0.5), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, kv]
    return y.reshape(len(x), -1)
