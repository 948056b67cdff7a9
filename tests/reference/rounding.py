"""Inputs as bytes, 32 with a scale, in numpy; and inputs that lose nothing by it. Never shipped."""

from __future__ import annotations

import numpy as np


def rounded(x: np.ndarray, group: int = 32) -> np.ndarray:
    """x [T, K] → float64 [T, K] of what is left of it. group: so many, which divides K, share a scale."""
    blocks = x.astype(np.float64).reshape(x.shape[0], -1, group)
    step = np.abs(blocks).max(-1, keepdims=True) / 127
    return (np.rint(blocks / np.where(step, step, 1)) * step).reshape(x.shape)


def whole_numbers(rng: np.random.Generator, tokens: int, cols: int) -> np.ndarray:
    """f32 [T, K] of order 1 that `rounded` leaves as they are: in each block a step times -127 to 127."""
    numbers = rng.integers(-126, 127, (tokens, cols // 32, 32)).astype(np.float32)
    numbers[..., 5] = 127
    steps = np.exp2(rng.integers(-9, -5, (tokens, cols // 32, 1)))
    return (numbers * steps).reshape(tokens, cols).astype(np.float32)
