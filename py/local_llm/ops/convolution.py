"""Short convolutions along the tokens, with a cache of what they see of earlier ones. Knows no models."""

from __future__ import annotations

from local_llm.gpu.kernel import Call, Kernel, pack
from local_llm.gpu.memory import Buffer
from local_llm.ops.shared import Shared

_LANES = 64


def short_conv(
    s: Shared, tokens: int, bcx: Buffer, weight: Buffer, cache: Buffer, y: Buffer, width: int, taps: int, slots: int
) -> list[Call]:
    """y = c ⊙ conv(b ⊙ x) for f32 bcx [T, 3D], y [T, D], weight [D, taps]: each sees itself and taps - 1 before it.

    cache: f32 [slots, D], a ring with room for T + taps - 1 positions, or for all positions.
    """
    kernel = Kernel.of("short_conv", TAPS=taps)
    return [Call(kernel, (bcx, weight, cache, y, s.step), (-(-width // _LANES), tokens, 1), pack(width, slots))]
