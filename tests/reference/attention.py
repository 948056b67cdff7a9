"""Rotary positions and attention in numpy, float64. Shapes as in the kernels' headers. Never shipped."""

from __future__ import annotations

import numpy as np


def rope_table(positions: int, rope_width: int, base: float = 10000.0) -> np.ndarray:
    """f32 [positions, rope_width/2, 2]: cos and sin of position · base^(-2i/rope_width)"""
    frequency = base ** (-np.arange(0, rope_width, 2) / rope_width)
    angle = np.arange(positions)[:, None] * frequency
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)


def rotate(x: np.ndarray, table: np.ndarray, interleaved: bool) -> np.ndarray:
    """x [T, heads, E], table [T, R/2, 2] → x with its first R elements rotated, float64"""
    half = table.shape[1]
    y = x.astype(np.float64)
    cos, sin = table[:, None, :, 0].astype(np.float64), table[:, None, :, 1].astype(np.float64)
    first, second = (
        (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (slice(half), slice(half, 2 * half))
    )
    a, b = x[..., first].astype(np.float64), x[..., second].astype(np.float64)
    y[..., first] = a * cos - b * sin
    y[..., second] = a * sin + b * cos
    return y


def qk_norm(qkv: np.ndarray, heads: int, gains: np.ndarray, norm: str, eps: float) -> np.ndarray:
    """qkv [T, H + 2K, E], gains [2, E] ("head") or [H + K, E] ("whole") → qkv with RMS-normed q and k"""
    y = qkv.astype(np.float64)
    kv_heads = (qkv.shape[1] - heads) // 2
    axes = -1 if norm == "head" else (-2, -1)
    parts = (slice(heads), slice(heads, heads + kv_heads))
    for part, gain in zip(parts, gains if norm == "head" else np.split(gains, [heads]), strict=True):
        a = y[:, part]
        y[:, part] = a / np.sqrt(np.mean(a * a, axes, keepdims=True) + eps) * gain
    return y


def ring(cache: np.ndarray, slots: int) -> np.ndarray:
    """k or v of all positions, [K, n, E] → what a ring of so many slots holds, [K, slots, E]; NaN where nothing."""
    held = np.full((cache.shape[0], slots, cache.shape[2]), np.nan, cache.dtype)
    for position in range(max(0, cache.shape[1] - slots), cache.shape[1]):
        held[:, position % slots] = cache[:, position]
    return held


def peaks(x: np.ndarray) -> np.ndarray:
    """x [..., E] → f16 [..., ceil(E/64), 2]: the largest size of every 32 elements, 0 where there are none"""
    width = x.shape[-1]
    padded = np.pad(np.abs(x), [(0, 0)] * (x.ndim - 1) + [(0, -width % 64)])
    return padded.reshape(*x.shape[:-1], -1, 2, 32).max(-1).clip(None, 65504).astype(np.float16)


def steps(x: np.ndarray) -> np.ndarray:
    """f64 [..., E]: what one of 127 steps is for each element"""
    return np.repeat(peaks(x).reshape(*x.shape[:-1], -1).astype(np.float64) / 127, 32, -1)[..., : x.shape[-1]]


def quants(x: np.ndarray) -> np.ndarray:
    """x in steps, whole ones"""
    size = steps(x)
    return np.divide(x, size, out=np.zeros(x.shape), where=size > 0).round().clip(-127, 127)


def of_eight_bits(x: np.ndarray) -> np.ndarray:
    """x as it is read from an 8-bit cache"""
    return quants(x) * steps(x)


def eight_bits(k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """k and v [K, C, E] as an 8-bit cache holds them, raw: bytes, behind those of k the peaks of both. NaN stays."""
    raw = [np.nan_to_num(quants(x), nan=1).astype(np.int8).ravel().view(np.uint8) for x in (k, v)]
    both = np.stack([peaks(k), peaks(v)], -2)
    return np.concatenate([raw[0], both.ravel().view(np.uint8)]), raw[1]


def from_eight_bits(k: np.ndarray, v: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """What `eight_bits` made of k and v of this shape → f64 k and v"""
    size, width = int(np.prod(shape)), shape[-1]
    both = k[size:].view(np.float16).astype(np.float64).reshape(*shape[:-1], -(-width // 64), 2, 2)
    made = []
    for at, raw in enumerate((k[:size], v[:size])):
        size = np.repeat(both[..., at, :].reshape(*shape[:-1], -1) / 127, 32, -1)[..., :width]
        made.append(raw.view(np.int8).reshape(shape) * size)
    return made[0], made[1]


def check_rounded(kept: np.ndarray, x: np.ndarray) -> None:
    """Fails unless kept is x [..., E], rounded to the nearest of its steps of 8 bits."""
    assert (np.abs(kept - x) <= 0.57 * steps(x)).all()  # the peak's own rounding moves the outermost by some of a step


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    position: int,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
    causal: bool = True,
) -> np.ndarray:
    """q [T, H, E] at positions position + t; k, v [K, n, E] of positions 0 … n − 1 → [T, H, E]"""
    tokens, heads, width = q.shape
    kv_heads, count, _ = k.shape
    q = q.astype(np.float64).reshape(tokens, kv_heads, heads // kv_heads, width).transpose(1, 2, 0, 3)
    k, v = k.astype(np.float64)[:, None], v.astype(np.float64)[:, None]
    scores = q @ k.swapaxes(-1, -2) * scale  # [K, H/K, T, n]
    if softcap > 0:
        scores = softcap * np.tanh(scores / softcap)
    query, key = np.arange(position, position + tokens)[:, None], np.arange(count)
    seen = (key <= query) | (not causal and (window == 0 or key < query + window))
    seen &= (key > query - window) if window > 0 else True
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = weights / weights.sum(-1, keepdims=True) @ v
    return y.transpose(2, 0, 1, 3).reshape(tokens, heads, width).astype(np.float32)
