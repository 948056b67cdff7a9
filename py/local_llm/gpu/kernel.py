"""A kernel (file, included format, constants) and a call of it (buffers, parameters, grid). Pure data."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Grid


@dataclass(frozen=True)
class Kernel:
    """One pipeline: shaders/<name>.wgsl, its entry point <name>, roles of includes, override constants."""

    name: str
    includes: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, float], ...] = ()

    @staticmethod
    def of(name: str, includes: Mapping[str, str] | None = None, **constants: float) -> Kernel:
        """Kernel.of("matvec", {"weight": "q4_1"}, LANES=32)"""
        return Kernel(name, tuple(sorted((includes or {}).items())), tuple(sorted(constants.items())))


@dataclass(frozen=True)
class Call:
    """One launch: buffers for bindings 0, 1, …; `params` (if not empty) fills the uniform that comes last."""

    kernel: Kernel
    buffers: tuple[Buffer, ...]
    grid: Grid
    params: bytes = b""


def pack(*values: int | float) -> bytes:
    """Params for a uniform: ints as u32, floats as f32, in order, padded to 16 bytes."""
    data = b"".join(struct.pack("<f" if isinstance(value, float) else "<I", value) for value in values)
    return data + bytes(-len(data) % 16)


def spread(count: int, limit: int = 65535) -> Grid:
    """A grid of at least `count` workgroups that respects WebGPU's limit per dimension.

    Kernels launched so take `workgroup_id.x + workgroup_id.y * num_workgroups.x` and ignore what is past the end.
    """
    if count <= limit:
        return (max(count, 1), 1, 1)
    rows = -(-count // limit)
    return (-(-count // rows), rows, 1)
