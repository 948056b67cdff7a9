"""Keys and values as a cache keeps them, by numpy: f16, or bytes as shaders/lib/q8_cache.wgsl says. Knows no GPU."""

from __future__ import annotations

import numpy as np

_GROUP = 32  # elements that share a step
_HIGHEST = 65504  # of f16


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """values [..., E] as they are read from a cache of `bits`; what it keeps exactly stays as it is."""
    if bits == 16:
        return values.astype(np.float16)
    _, steps, quants = _quantized(values)
    return quants * steps


def stored(keys: np.ndarray, values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """What the buffers of a Cache hold, for keys and values [K, C, E]."""
    if bits == 16:
        return keys.astype(np.float16), values.astype(np.float16)
    peaks, quants = zip(*((found[0], found[2]) for found in map(_quantized, (keys, values))), strict=True)
    behind = np.stack(peaks, -2)  # [K, C, pairs, 2, 2]: of 64 keys, then of 64 values
    first, second = (each.astype(np.int8).view(np.uint8).ravel() for each in quants)
    return np.concatenate([first, behind.ravel().view(np.uint8)]), second


def _quantized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks f16 [..., pairs, 2], and for each element its step and how many of them it is."""
    rows, width = values.shape[:-1], values.shape[-1]
    sizes = np.zeros((*rows, -(-width // (2 * _GROUP)) * 2 * _GROUP))
    sizes[..., :width] = np.abs(values)
    peaks = np.minimum(sizes.reshape(*rows, -1, 2, _GROUP).max(-1), _HIGHEST).astype(np.float16)
    steps = np.repeat(peaks.reshape(*rows, -1) / np.float64(127), _GROUP, -1)[..., :width]
    quants = np.divide(values, steps, out=np.zeros_like(steps), where=steps > 0)
    return peaks, steps, np.clip(np.round(quants), -127, 127)
