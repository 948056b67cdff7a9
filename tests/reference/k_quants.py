"""GGUF's types of 256 weights a block in numpy, written from the format's definition.

Checked against the gguf package natively (tests/unit/test_reference_quant.py).
"""

from __future__ import annotations

import numpy as np

# bytes of a block, in the file's order
FIELDS = {
    "q2_k": {"scales": 16, "low": 64, "d": 2, "dmin": 2},
    "q3_k": {"top": 32, "low": 64, "scales": 12, "d": 2},
    "q4_k": {"d": 2, "dmin": 2, "scales": 12, "low": 128},
    "q5_k": {"d": 2, "dmin": 2, "scales": 12, "top": 32, "low": 128},
    "q6_k": {"low": 128, "top": 64, "scales": 16, "d": 2},
    "iq4_xs": {"d": 2, "scales": 6, "low": 128},
}
IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
_LARGEST = {"q2_k": 3 * 15, "q3_k": 4 * 32, "q4_k": 15 * 63, "q5_k": 31 * 63, "q6_k": 32 * 128, "iq4_xs": 127 * 32}
_MOST_STEPS = {"q2_k": 15, "q4_k": 63, "q5_k": 63}

BLOCK_BYTES = {format: sum(fields.values()) for format, fields in FIELDS.items()}


def fields(format: str, blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Views of uint8 [n, bytes] by name: uint8 [n, …]."""
    borders = np.cumsum([0, *FIELDS[format].values()])
    return {name: blocks[:, borders[i] : borders[i + 1]] for i, name in enumerate(FIELDS[format])}


def random_blocks(rng: np.random.Generator, format: str, count: int) -> np.ndarray:
    """uint8 [count, bytes], of finite weights whose size is about 1."""
    blocks = rng.integers(0, 256, (count, BLOCK_BYTES[format]), np.uint8)
    parts = fields(format, blocks)
    d = rng.uniform(-4, 4, (count, 1)) / _LARGEST[format]
    parts["d"][:] = d.astype(np.float16).view(np.uint8)
    if "dmin" in parts:
        m = d * _LARGEST[format] / _MOST_STEPS[format] / 2 + rng.uniform(-0.01, 0.01, (count, 1))
        parts["dmin"][:] = m.astype(np.float16).view(np.uint8)
    return blocks


def decode_blocks(format: str, blocks: np.ndarray) -> np.ndarray:
    """uint8 [n, bytes] → float32 [n, 256]"""
    parts = fields(format, blocks)
    d = _half(parts["d"])[:, None]
    if format == "q2_k":
        q = _columns(parts["low"], 32, (0, 2, 4, 6), 3).reshape(-1, 16, 16)
        s, m = parts["scales"] & 15, parts["scales"] >> 4
        values = d * s[..., None].astype(np.float32) * q - _half(parts["dmin"])[:, None] * m[..., None]
    elif format == "q3_k":
        q = _columns(parts["low"], 32, (0, 2, 4, 6), 3) + 4 * _columns(parts["top"], 32, range(8), 1) - np.float32(4)
        values = d * _sixteen_scales(parts["scales"])[..., None] * q.reshape(-1, 16, 16)
    elif format == "iq4_xs":
        upper = parts["scales"][:, 0] | parts["scales"][:, 1].astype(np.uint16) << 8
        lower = _columns(parts["scales"][:, 2:], 1, (0, 4), 15).reshape(-1, 8)
        s = (
            lower
            + 16 * (upper[:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & 3).astype(np.float32)
            - np.float32(32)
        )
        values = d * s[..., None] * IQ4_VALUES[_columns(parts["low"], 16, (0, 4), 15).astype(int)].reshape(-1, 8, 32)
    elif format in ("q4_k", "q5_k"):
        scales, mins = _scales_and_mins(parts["scales"])
        q = _columns(parts["low"], 32, (0, 4), 15)
        if format == "q5_k":
            q = q + 16 * _columns(parts["top"], 32, range(8), 1)
        values = d * scales[..., None] * q - _half(parts["dmin"])[:, None] * mins[..., None]
    else:
        q = _columns(parts["low"], 64, (0, 4), 15) + 16 * _columns(parts["top"], 32, (0, 2, 4, 6), 3).reshape(-1, 4, 64)
        scales = parts["scales"].view(np.int8).astype(np.float32)
        values = d * scales[..., None] * (q.reshape(-1, 16, 16) - np.float32(32))
    return values.reshape(-1, 256)


def _half(pair: np.ndarray) -> np.ndarray:
    """uint8 [n, 2] → float32 [n, 1]"""
    return np.ascontiguousarray(pair).view(np.float16).astype(np.float32)


def _columns(data: np.ndarray, width: int, shifts, mask: int) -> np.ndarray:
    """Of each `width` bytes first the bits at shifts[0], then those at shifts[1], …: float32 [n, …, width]."""
    groups = data.reshape(data.shape[0], -1, 1, width)
    bits = (groups >> np.array(list(shifts), np.uint8)[:, None]) & np.uint8(mask)
    return bits.astype(np.float32).reshape(data.shape[0], -1, width)


def _scales_and_mins(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twelve bytes: s 0–3 and m 0–3 in six bits each; then the low fours of s and m 4–7, whose tops are above those."""
    a, b, c = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    s = np.concatenate([a & 63, (c & 15) | (a >> 6 << 4)], axis=1)
    m = np.concatenate([b & 63, (c >> 4) | (b >> 6 << 4)], axis=1)
    return s.astype(np.float32), m.astype(np.float32)


def _sixteen_scales(packed: np.ndarray) -> np.ndarray:
    """Twelve bytes: low fours of 0–7, in the same bytes those of 8–15; then pairs of bits above them, minus 32."""
    lower = _columns(packed[:, :8], 8, (0, 4), 15).reshape(-1, 16)
    upper = _columns(packed[:, 8:], 4, (0, 2, 4, 6), 3).reshape(-1, 16)
    return lower + 16 * upper - np.float32(32)
