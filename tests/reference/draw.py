"""Random weights by Hugging Face's tensor names: the same numbers wherever they are drawn. Never shipped.

Both sides of the comparison with Hugging Face transformers draw them, so no weights need to be stored.
"""

from __future__ import annotations

import zlib

import numpy as np

_GAINS = {
    "embed_tokens": 0.0,  # of order 1
    "word_embeddings": 0.0,
    "position_embeddings": 0.0,
    "token_type_embeddings": 0.0,
    "o_proj": 2.0,
    "down_proj": 3.0,
    "out_proj": 2.0,
    "w2": 3.0,
    "lm_head": 6.0,
}


def draw(
    name: str,
    shape: tuple[int, ...],
    *,
    norm_center: float = 1.0,
    final_norm: float = 1.0,
    embedding: float = 1.0,
) -> np.ndarray:
    """float32 of shape. norm_center: around which norms' weights lie (0 where a model adds 1 to them).

    final_norm, embedding: factors for models that multiply embeddings, whose tokens would only repeat themselves.
    """
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    if name.endswith(".bias"):
        return np.float32(0.3) * values
    if len(shape) == 1:
        size = final_norm if name == "model.norm.weight" else 1.0
        return np.float32(norm_center - 1 + size) + np.float32(0.2) * values
    gain = next((gain for part, gain in _GAINS.items() if part in name), 1.2)
    if len(shape) == 3:
        return values  # a convolution's taps
    return values * np.float32(gain / shape[1] ** 0.5 if gain else embedding)
