"""The `llama` architecture in numpy, float32: the truth that our models are held against. Never shipped.

It knows GGUF's tensor names and metadata, and shares no code with local_llm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

Cache = list[tuple[np.ndarray, np.ndarray]]  # per layer: k, v f32 [positions so far, K, E]


def load(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata by key, and all tensors, dequantised to f32 [rows, cols]."""
    import gguf  # pyright: ignore[reportMissingImports]

    reader = gguf.GGUFReader(path)
    config = {key: field.contents() for key, field in reader.fields.items()}
    tensors = {t.name: np.ascontiguousarray(gguf.dequantize(t.data, t.tensor_type), np.float32) for t in reader.tensors}
    return config, tensors


class _Config:
    """Metadata of one architecture with defaults."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def get(self, key: str, default: Any = None) -> Any:
        return self._config.get(f"{self._config['general.architecture']}.{key}", default)


def frequencies(config: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """float64 [R/2] angle per position, and the factor on cos and sin (YaRN's attention temperature)."""
    c = _Config(config)
    heads, width = c.get("attention.head_count"), c.get("embedding_length")
    rotated = c.get("rope.dimension_count", c.get("attention.key_length", width // heads))
    base = c.get("rope.freq_base", 10000.0)
    index = np.arange(0, rotated, 2) / rotated
    plain = base**-index
    if "rope_freqs.weight" in tensors:
        plain = plain / tensors["rope_freqs.weight"]
    kind, factor = c.get("rope.scaling.type", "none"), c.get("rope.scaling.factor", 1.0)
    if kind == "linear":
        return plain / factor, 1.0
    if kind != "yarn":
        return plain, 1.0

    def dimension(turns: float) -> float:  # whose wavelength goes `turns` times into the original context
        original = c.get("rope.scaling.original_context_length", c.get("context_length"))
        return rotated * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))

    low = max(np.floor(dimension(c.get("rope.scaling.yarn_beta_fast", 32.0))), 0)
    high = min(np.ceil(dimension(c.get("rope.scaling.yarn_beta_slow", 1.0))), rotated - 1)
    slow = np.clip((np.arange(rotated // 2) - low) / max(high - low, 0.001), 0, 1)
    return plain * (1 - slow) + plain / factor * slow, c.get("rope.scaling.attn_factor", 1.0) * (
        1 + 0.1 * np.log(factor)
    )


def forward(
    config: dict[str, Any],
    tensors: dict[str, np.ndarray],
    ids: Sequence[int],
    *,
    positions: Sequence[int] | None = None,
    cache: Cache | None = None,
    stored: Callable[[np.ndarray], Any] = np.float32,
) -> np.ndarray:
    """Logits f32 [T, V] of ids [T] at `positions` (0, 1, … or what follows the cache). `cache` grows by T.

    stored: makes of keys and values what is kept of them, as np.float16 does.
    """
    c = _Config(config)
    eps = c.get("attention.layer_norm_rms_epsilon")
    layers = c.get("block_count")
    cache = cache if cache is not None else []
    past = len(cache[0][0]) if cache else 0
    place = np.arange(past, past + len(ids)) if positions is None else np.asarray(positions)
    turn, size = frequencies(config, tensors)
    angle = place[:, None] * turn
    cos, sin = ((size * f(angle)).astype(np.float32)[:, None] for f in (np.cos, np.sin))

    x = tensors["token_embd.weight"][np.asarray(ids)]
    for n in range(layers):
        block: dict[str, Any] = {key: tensors.get(f"blk.{n}.{key}") for key in _BLOCK}
        normed = _norm(x, block["attn_norm.weight"], eps)
        x = x + _attention(c, block, normed, cos, sin, cache, n, stored)
        normed = _norm(x, block["ffn_norm.weight"], eps)
        gate, up = normed @ block["ffn_gate.weight"].T, normed @ block["ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ block["ffn_down.weight"].T
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    return _norm(x, tensors["output_norm.weight"], eps) @ head.T


_BLOCK = [
    *(f"{name}.weight" for name in ("attn_norm", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")),
    *(f"attn_{name}.{part}" for name in ("q", "k", "v", "output") for part in ("weight", "bias")),
]


def _norm(x: np.ndarray, weight: Any, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(eps)) * weight


def _attention(
    c: _Config,
    block: dict[str, Any],
    x: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    cache: Cache,
    n: int,
    stored: Callable[[np.ndarray], Any],
) -> np.ndarray:
    heads = c.get("attention.head_count")
    kv_heads = c.get("attention.head_count_kv", heads)

    def project(name: str, x: np.ndarray) -> np.ndarray:
        y = x @ block[f"attn_{name}.weight"].T
        bias = block[f"attn_{name}.bias"]
        return y if bias is None else y + bias

    q = _rotate(project("q", x).reshape(len(x), heads, -1), cos, sin)
    k = _rotate(project("k", x).reshape(len(x), kv_heads, -1), cos, sin)
    v = project("v", x).reshape(len(x), kv_heads, -1)
    k, v = (stored(y).astype(np.float32) for y in (k, v))
    if n < len(cache):
        k, v = np.concatenate([cache[n][0], k]), np.concatenate([cache[n][1], v])
        cache[n] = (k, v)
    else:
        cache.append((k, v))
    q = q.reshape(len(x), kv_heads, heads // kv_heads, -1)
    scores = np.einsum("tkge,ske->kgts", q, k, optimize=True) / np.float32(np.sqrt(q.shape[-1]))
    unseen = np.arange(len(k)) > np.arange(len(k) - len(x), len(k))[:, None]
    scores = np.where(unseen, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return project("output", np.einsum("kgts,ske->tkge", weights, v, optimize=True).reshape(len(x), -1))


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """GGUF's llama files permute q and k so that neighbours (2i, 2i + 1) turn together."""
    y = x.copy()
    last = 2 * cos.shape[-1]
    a, b = x[..., 0:last:2], x[..., 1:last:2]
    y[..., 0:last:2], y[..., 1:last:2] = a * cos - b * sin, a * sin + b * cos
    return y


def generate_greedy(
    config: dict[str, Any], tensors: dict[str, np.ndarray], ids: Sequence[int], count: int
) -> tuple[list[int], list[float]]:
    """`count` greedy ids, and per id its margin: the best logit minus the second best."""
    cache: Cache = []
    chosen: list[int] = []
    margins: list[float] = []
    logits = forward(config, tensors, ids, cache=cache)[-1]
    while True:
        second, best = np.partition(logits, -2)[-2:]
        chosen.append(int(logits.argmax()))
        margins.append(float(best - second))
        if len(chosen) == count:
            return chosen, margins
        logits = forward(config, tensors, chosen[-1:], cache=cache)[-1]


def perplexity(config: dict[str, Any], tensors: dict[str, np.ndarray], ids: Sequence[int]) -> float:
    """exp of the mean -log p(ids[t + 1] | ids[: t + 1])"""
    logits = forward(config, tensors, ids[:-1]).astype(np.float64)
    highest = logits.max(-1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
    return float(np.exp(np.mean(log_sum - logits[np.arange(len(logits)), np.asarray(ids[1:])])))
