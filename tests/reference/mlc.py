"""MLC's group quantization in numpy, from the format's definition: what q_weight and q_scale mean, and their making."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Kind:
    """bits a weight, `group` weights a scale, of type `scale`; `columns`: both tensors lie transposed."""

    bits: int
    group: int
    scale: type
    columns: bool = False

    @property
    def each(self) -> int:
        """Weights in a u32."""
        return 32 // self.bits

    @property
    def largest(self) -> int:
        return 2 ** (self.bits - 1) - 1


KINDS = {
    "q4f16_1": Kind(4, 32, np.float16),
    "q4f32_1": Kind(4, 32, np.float32),
    "q3f16_1": Kind(3, 40, np.float16),
    "q4f16_0": Kind(4, 32, np.float16, columns=True),
}


def quantize(name: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float [out, in] → q_weight u32, q_scale, as a folder of MLC's has them."""
    kind = KINDS[name]
    rows, cols = values.shape
    groups = -(-cols // kind.group)
    padded = np.zeros((rows, groups * kind.group), np.float32)
    padded[:, :cols] = values
    grouped = padded.reshape(rows, groups, kind.group)
    scale = (np.abs(grouped).max(axis=2) / kind.largest).astype(kind.scale)
    divisor = np.where(scale == 0, 1, scale).astype(np.float32)[..., None]
    q = np.clip(np.round(grouped / divisor) + kind.largest, 0, 2 * kind.largest).astype(np.uint32)
    words = pack(q.reshape(rows, -1), kind)
    return (words.T.copy(), scale.T.copy()) if kind.columns else (words, scale)


def pack(q: np.ndarray, kind: Kind) -> np.ndarray:
    """u32 [rows, n] → u32 [rows, n / each], the first weight in the lowest bits."""
    parts = q.reshape(q.shape[0], -1, kind.each)
    shifts = (np.arange(kind.each) * kind.bits).astype(np.uint32)
    return np.bitwise_or.reduce(parts << shifts, axis=2).astype(np.uint32)


def dequantize(name: str, q_weight: np.ndarray, q_scale: np.ndarray, cols: int) -> np.ndarray:
    """float32 [out, cols]: element k of row o is (field k of the row's words − largest) · q_scale[o, k // group]."""
    kind = KINDS[name]
    if kind.columns:
        q_weight, q_scale = q_weight.T, q_scale.T
    k = np.arange(cols)
    field = (q_weight[:, k // kind.each] >> (kind.bits * (k % kind.each)).astype(np.uint32)) & (2**kind.bits - 1)
    return (field.astype(np.float32) - kind.largest) * q_scale[:, k // kind.group].astype(np.float32)


def random(rng: np.random.Generator, name: str, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Any bits, scales that make weights of about 1."""
    kind = KINDS[name]
    groups = -(-cols // kind.group)
    words = rng.integers(0, 1 << 32, (rows, groups * kind.group // kind.each), np.uint32)
    scale = (rng.uniform(-2, 2, (rows, groups)) / kind.largest).astype(kind.scale)
    return (words.T.copy(), scale.T.copy()) if kind.columns else (words, scale)
