"""What products leave rounded for the next (shaders/lib/left_input.wgsl), by numpy: such inputs, and verdicts."""

from __future__ import annotations

import numpy as np

from local_llm.ops.leaving import GROUP, left_words

HALF = 0.51  # of a step: what rounding may add


def left_input(cols: int, normed: bool, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """u32 [left_words(K)] of random numbers, and the vector [K] that they stand for, with its norm's factor if any."""
    rng, blocks = np.random.default_rng(cols), cols // 32
    numbers = rng.integers(-127, 128, (blocks, 2, GROUP), np.int8)
    steps = rng.uniform(0.01, 0.02, (blocks, 2)).astype("<f4")
    squares = rng.uniform(1, 30, 2 * blocks).astype("<f4")
    halves = np.concatenate([steps, steps * numbers.sum(-1)], 1).astype("<f4")
    words = np.concatenate([numbers.reshape(-1).view("<u4"), halves.reshape(-1).view("<u4"), squares.view("<u4")])
    factor = 1 / np.sqrt(squares.sum(dtype=np.float64) / cols + eps) if normed else 1.0
    return np.pad(words, (0, left_words(cols) - len(words))), (numbers * steps[..., None] * factor).reshape(cols)


def left_right(words: np.ndarray, wanted: np.ndarray, size: np.ndarray, ids: np.ndarray, cols: int) -> bool:
    """Whether `words` has wanted [len(ids)] in places ids of a row of K, each within size and half a step."""
    numbers = words[: cols // 4].view(np.int8).reshape(-1, GROUP).astype(np.float64)
    halves = words[cols // 4 : cols // 4 + cols // 8].view("<f4").reshape(-1, 2, 2).astype(np.float64)
    steps, sums = halves.transpose(1, 0, 2).reshape(2, -1)
    got = (numbers * steps[:, None]).reshape(cols)[ids]
    groups = np.unique(ids // GROUP)
    near = np.abs(got - wanted) <= size + HALF * steps[ids // GROUP]
    full = ((np.abs(numbers).max(1) == 127) | ((steps == 0) & ~numbers.any(1)))[groups]
    return bool(np.all(near) and np.all(full) and np.allclose(sums, steps * numbers.sum(1), 1e-4, 1e-9))


def squares_right(words: np.ndarray, results: np.ndarray, cols: int) -> bool:
    """Whether `words` has the sums of squares of results [N], which come first in a row of K."""
    squares = words[cols // 4 + cols // 8 :][: len(results) // GROUP].view("<f4")
    return bool(np.allclose(squares, (results.reshape(-1, GROUP) ** 2).sum(1), 1e-3))
