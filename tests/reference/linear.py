"""Matrix products, activations and their fusions in numpy, in float64. Never shipped."""

from __future__ import annotations

import numpy as np


def normed(x: np.ndarray, norm: np.ndarray | None, eps: float) -> np.ndarray:
    """x [T, K] → float64 [T, K]; norm [K] or None for x as it is."""
    x = x.astype(np.float64)
    return x if norm is None else x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * norm


def linear(
    weight: np.ndarray,
    x: np.ndarray,
    *,
    norm: np.ndarray | None = None,
    eps: float = 0.0,
    bias: np.ndarray | float = 0.0,
) -> np.ndarray:
    """weight [N, K], x [T, K] → float64 [T, N]"""
    return normed(x, norm, eps) @ weight.astype(np.float64).T + bias


def activate(x: np.ndarray, activation: str) -> np.ndarray:
    """silu, or gelu in its tanh form."""
    x = x.astype(np.float64)
    if activation == "silu":
        return x / (1 + np.exp(-x))
    return x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def glu(x: np.ndarray, activation: str) -> np.ndarray:
    """x [T, 2F] → float64 [T, F]"""
    gate, up = np.split(x, 2, axis=-1)
    return activate(gate, activation) * up
