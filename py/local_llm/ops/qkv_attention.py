"""Projections of q, k, v and one token's attention in one launch, where a head's rows are few. Knows no models."""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel
from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops.attention import Cache, Heads, attend_floats, made_bytes, numbers, split
from local_llm.ops.shared import Shared
from local_llm.ops.variants import MOST_LANES, Variant
from local_llm.ops.weight import BLOCK, Weight

# Blocks of a head's rows, which every workgroup of the head multiplies: measured, see docs/log.md.
MOST_BLOCKS = 64 * 32
MOST_INPUT = 1024  # H E: lib/newest_input.wgsl keeps a quarter of it for each token in workgroup memory
LANES = 320
STORAGE_BUFFERS = 9


def fits(caps: Caps, weight: Weight, heads: Heads) -> bool:
    """Whether one launch does it."""
    return (
        not caps.software
        and caps.storage_buffers >= STORAGE_BUFFERS
        and not heads.norm
        and not heads.softcap
        and heads.bits == 16
        and heads.width % 16 == 0
        and heads.heads * heads.width <= MOST_INPUT
        and weight.cols % BLOCK == 0
        and len(weight.parts) == 1
        and heads.width * weight.blocks <= MOST_BLOCKS
        and 8 * _row_lanes(weight) <= MOST_LANES
        and heads.width < lanes_of(caps, weight)
        and _bytes(caps, heads, weight) <= caps.workgroup_bytes
    )


def apart(weight: Weight) -> Variant:
    """The variant of `matvec` that gives q, k and v the same numbers, bit by bit."""
    lanes = _row_lanes(weight)
    return Variant("", {"LANES": lanes, "TEAMS": 8, "ROWS": 1}, 8)


def _row_lanes(weight: Weight) -> int:
    return -(-weight.blocks // 4) * 4


def lanes_of(caps: Caps, weight: Weight) -> int:
    """Of a workgroup: whole rows of lanes, 16 of them or what makes MOST_LANES."""
    row = _row_lanes(weight)
    most = max(MOST_LANES, min(LANES, caps.max_invocations))
    return row * min(max(16, MOST_LANES // row), most // row)


def _bytes(caps: Caps, heads: Heads, weight: Weight) -> int:
    """Workgroup memory, as WebGPU counts it."""
    row = _row_lanes(weight)
    floats = attend_floats(heads, lanes_of(caps, weight), heads.width * (row + 1)) + 2 * heads.width
    return 4 * floats + made_bytes(heads, 1) + 16 * (8 * (row + 1) + 2 * row + 9)


def qkv_attention(
    s: Shared,
    weight: Weight,
    x: Buffer,
    norm: Buffer,
    bias: Buffer | None,
    eps: float,
    heads: Heads,
    rope: Buffer,
    cache: Cache,
    y: Buffer,
    reach: int = 0,
) -> list[Call]:
    """y = attention of W_qkv norm(x) (+ bias) for one token, f32 x [D], norm [D]; keys and values into the cache.

    y is left in the parts that `parts_for` tells with past. reach: as of rope_attention.
    """
    parts, _ = split(heads, reach)
    kernel = Kernel.of(
        "qkv_attention",
        {"weight": weight.format},
        LANES=lanes_of(s.caps, weight),
        WIDTH=heads.width,
        ROPE=heads.rope_width,
        INTERLEAVED=heads.interleaved,
        RING=heads.ring,
        BLOCKS=_row_lanes(weight),
        BIAS=bias is not None,
    )
    (part,) = weight.parts
    buffers = (part.quants, part.scales, x, norm, bias or s.dummy, rope, cache.k, cache.v, y, s.step)
    params = numbers(heads, float(eps), weight.cols, weight.blocks)
    return [Call(kernel, buffers, (heads.heads + 2 * heads.kv_heads, parts, 1), params)]
