"""Penalties and the filters top-k, top-p, min-p in numpy, float64. Never shipped."""

from __future__ import annotations

import numpy as np


def penalize(
    logits: np.ndarray, in_prompt: np.ndarray, times: np.ndarray, repetition: float, presence: float, frequency: float
) -> np.ndarray:
    """logits f32 [V], in_prompt bool [V], times in the answer int [V] → float64 [V]"""
    x = logits.astype(np.float64)
    x = np.where(in_prompt | (times > 0), np.where(x > 0, x / repetition, x * repetition), x)
    return x - np.where(times > 0, presence, 0) - times * frequency


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature), float64 [V]"""
    x = logits.astype(np.float64) / temperature
    w = np.exp(x - x.max())
    return w / w.sum()


def top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """bool [V]: the k best, and what ties with the last of them"""
    if not 0 < k < len(logits):
        return np.ones(len(logits), bool)
    return logits >= np.sort(logits)[-k]


def min_p(logits: np.ndarray, temperature: float, p: float) -> np.ndarray:
    """bool [V]: those with at least p of the best one's probability"""
    share = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return share >= p


def nucleus_error(probability: np.ndarray, kept: np.ndarray, p: float) -> float:
    """How much probability separates `kept` from being a nucleus: 0 for an exact one.

    A nucleus holds at least p, and less than p without the least likely tokens that it keeps.
    """
    mass = probability[kept].sum()
    least = probability[kept].min()
    without = probability[kept & (probability > least)].sum()
    return max(p - mass, without - p, 0.0)
