"""Vectors on the GPU (norms, biases): always f32, whatever the file keeps. Knows no file formats and no models."""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel, pack
from local_llm.gpu.memory import Buffer, Memory
from local_llm.ops.weight import BLOCK

VECTOR_FORMATS = {"f32": 0, "f16": 1, "bf16": 2}
_LANES = 64


def allocate_vector(memory: Memory, count: int, label: str) -> Buffer:
    """f32 [count], zero, padded with zeros to whole blocks."""
    return memory.create(4 * (-(-count // BLOCK) * BLOCK), label)


def repack_vector(
    format: str,
    raw: Buffer,
    byte_offset: int,
    y: Buffer,
    first: int,
    count: int,
    *,
    factor: float = 1.0,
    addend: float = 0.0,
) -> list[Call]:
    """y[first : first + count] = factor · v + addend for the vector v of `format` at byte_offset of raw."""
    kernel = Kernel.of("repack_vector", TYPE=VECTOR_FORMATS[format])
    params = pack(byte_offset, count, first, float(factor), float(addend))
    return [Call(kernel, (raw, y), (-(-count // _LANES), 1, 1), params)]
