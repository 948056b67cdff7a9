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
    q = np.clip(np.rint(grouped / divisor) + np.float32(kind.largest), 0, 2 * kind.largest).astype(np.uint8)
    words = pack(q.reshape(rows, -1), kind)
    return (words.T.copy(), scale.T.copy()) if kind.columns else (words, scale)


def pack(q: np.ndarray, kind: Kind) -> np.ndarray:
    """u8 [rows, n] → u32 [rows, n / each], the first weight in the lowest bits."""
    parts = q.reshape(q.shape[0], -1, kind.each)
    words = np.zeros(parts.shape[:2], np.uint32)
    for i in range(kind.each):
        words |= parts[:, :, i].astype(np.uint32) << np.uint32(kind.bits * i)
    return words


def dequantize(name: str, q_weight: np.ndarray, q_scale: np.ndarray, cols: int) -> np.ndarray:
    """float32 [out, cols]: element k of row o is (field k of the row's words − largest) · q_scale[o, k // group]."""
    kind = KINDS[name]
    if kind.columns:
        q_weight, q_scale = q_weight.T, q_scale.T
    fields = np.empty((*q_weight.shape, kind.each), np.float32)
    for i in range(kind.each):
        fields[:, :, i] = (q_weight >> np.uint32(kind.bits * i)) & np.uint32(2**kind.bits - 1)
    grouped = fields.reshape(len(q_scale), -1, kind.group) - np.float32(kind.largest)
    return (grouped * q_scale[..., None].astype(np.float32)).reshape(len(q_scale), -1)[:, :cols]


def random(rng: np.random.Generator, name: str, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Any bits, scales that make weights of about 1."""
    kind = KINDS[name]
    groups = -(-cols // kind.group)
    words = rng.integers(0, 1 << 32, (rows, groups * kind.group // kind.each), np.uint32)
    scale = (rng.uniform(-2, 2, (rows, groups)) / kind.largest).astype(kind.scale)
    return (words.T.copy(), scale.T.copy()) if kind.columns else (words, scale)
