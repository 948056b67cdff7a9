"""Block formats in numpy: random file bytes and their decoding. Needs no gguf package, so it runs in the page too.

Checked against the gguf package natively (tests/unit/test_reference_quant.py).
"""

from __future__ import annotations

import numpy as np

from tests.reference import k_quants

FORMATS = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
CURVED_BYTES = {"iq4_nl": 18, "mxfp4": 17}
BLOCK_BYTES = {"q8_0": 34, "q4_0": 18, "q4_1": 20, "q5_0": 22, "q5_1": 24, **CURVED_BYTES, **k_quants.BLOCK_BYTES}
MXFP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)  # doubled
WEIGHT_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
SUPER_FORMATS = tuple(k_quants.BLOCK_BYTES)  # blocks of 256 weights
FURTHER_FORMATS = (*CURVED_BYTES, *SUPER_FORMATS)  # FORMATS are tested in more shapes than these


def block_weights(format: str) -> int:
    """Weights in one of the file's blocks."""
    return 1 if format in WEIGHT_BYTES else 256 if format in SUPER_FORMATS else 32


def units(format: str, rows: int, cols: int) -> int:
    """What repack counts in a matrix: the file's blocks, or its rows where it has no blocks."""
    return rows if format in WEIGHT_BYTES else rows * (cols // block_weights(format))


def row_bytes(format: str, cols: int) -> int:
    """Bytes of one row in a file."""
    return cols * WEIGHT_BYTES[format] if format in WEIGHT_BYTES else units(format, 1, cols) * BLOCK_BYTES[format]


def random_weights(rng: np.random.Generator, format: str, rows: int, cols: int) -> np.ndarray:
    """The file's bytes, uint8 [rows, row_bytes], of finite weights whose size is about 1."""
    if format in WEIGHT_BYTES:
        values = rng.standard_normal((rows, cols), np.float32)
        if format == "bf16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(rows, -1)
        return values.astype(format.replace("f", "float")).view(np.uint8).reshape(rows, -1)
    if format in SUPER_FORMATS:
        return k_quants.random_blocks(rng, format, units(format, rows, cols)).reshape(rows, -1)
    blocks = cols // 32
    data = rng.integers(0, 256, (rows, blocks, BLOCK_BYTES[format]), np.uint8)
    if format == "mxfp4":
        data[:, :, 0] = rng.integers(124, 128, (rows, blocks))
        return data.reshape(rows, -1)
    largest = {"iq4_nl": 127, "q8_0": 127, "q4_0": 8, "q4_1": 8, "q5_0": 16, "q5_1": 16}[format]
    d = rng.uniform(-1.5, 1.5, (rows, blocks)) / largest
    data[:, :, 0:2] = d.astype(np.float16)[..., None].view(np.uint8)
    if format in ("q4_1", "q5_1"):
        m = -d * largest + rng.uniform(-0.1, 0.1, (rows, blocks))
        data[:, :, 2:4] = m.astype(np.float16)[..., None].view(np.uint8)
    return data.reshape(rows, -1)


def shrink(format: str, data: np.ndarray, power: int) -> np.ndarray:
    """The same weights of a block format, each times 2^-power (where no scale becomes subnormal)."""
    blocks = np.array(data).reshape(-1, BLOCK_BYTES[format])
    if format == "mxfp4":
        blocks[:, 0] -= power
        return blocks.reshape(data.shape)
    fields = {"d": blocks[:, 0:2]}
    if format in SUPER_FORMATS:
        fields = k_quants.fields(format, blocks)
    elif format in ("q4_1", "q5_1"):
        fields["dmin"] = blocks[:, 2:4]
    for name in {"d", "dmin"} & set(fields):
        halves = np.ascontiguousarray(fields[name]).view(np.float16)
        fields[name][:] = np.ldexp(halves, -power).astype(np.float16).view(np.uint8)
    return blocks.reshape(data.shape)


def decode(format: str, data: np.ndarray) -> np.ndarray:
    """uint8 [rows, row_bytes] → float32 [rows, cols], each weight rounded as d * q, then + m."""
    rows = data.shape[0]
    data = np.ascontiguousarray(data)
    if format == "bf16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if format in WEIGHT_BYTES:
        return data.view(format.replace("f", "float")).astype(np.float32)
    blocks = data.reshape(-1, BLOCK_BYTES[format])
    if format in SUPER_FORMATS:
        return k_quants.decode_blocks(format, blocks).reshape(rows, -1)
    d = _half(blocks, 0)
    if format in CURVED_BYTES:
        curve = MXFP4_VALUES if format == "mxfp4" else k_quants.IQ4_VALUES
        d = np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128) if format == "mxfp4" else d
        values = d * curve[_nibbles(blocks[:, -16:]).astype(int)]
    elif format == "q8_0":
        values = d * blocks[:, 2:].view(np.int8).astype(np.float32)
    elif format == "q4_0":
        values = d * (_nibbles(blocks[:, 2:]) - np.float32(8))
    elif format == "q4_1":
        values = d * _nibbles(blocks[:, 4:]) + _half(blocks, 2)
    elif format == "q5_0":
        values = d * (_nibbles(blocks[:, 6:]) + _fifth(blocks, 2) - np.float32(16))
    else:
        values = d * (_nibbles(blocks[:, 8:]) + _fifth(blocks, 4)) + _half(blocks, 2)
    return values.reshape(rows, -1)


def _half(blocks: np.ndarray, at: int) -> np.ndarray:
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def _nibbles(packed: np.ndarray) -> np.ndarray:
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def _fifth(blocks: np.ndarray, at: int) -> np.ndarray:
    bits = np.unpackbits(np.ascontiguousarray(blocks[:, at : at + 4]), axis=1, bitorder="little")
    return bits.astype(np.float32) * np.float32(16)
