"""Rows of the embedding for the tokens of a step. Knows no models."""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel, pack
from local_llm.gpu.memory import Buffer
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight

_LANES = 64
_SOURCES = {"tokens": 0, "positions": 1, "first row": 2}


def embed(
    s: Shared,
    tokens_count: int,
    weight: Weight,
    tokens: Buffer,
    x: Buffer,
    *,
    factor: float = 1.0,
    source: str = "tokens",
    add: bool = False,
) -> list[Call]:
    """x (+)= factor * W[tokens] for u32 tokens [T] (each below W's rows), f32 x [T, D].

    source: "tokens", "positions" (row step.position + t for token t) or "first row" (for all).
    """
    kernel = Kernel.of("embed", {"weight": weight.format}, LANES=_LANES, ADD=add, FROM=_SOURCES[source])
    grid = (-(-weight.blocks // _LANES), tokens_count, 1)
    return [
        Call(
            kernel,
            (part.quants, part.scales, tokens, x, s.step),
            grid,
            pack(part.row_start, part.rows, weight.cols, weight.blocks, float(factor)),
        )
        for part in weight.parts
    ]
