"""What every operation needs: the adapter's capabilities and the buffers all kernels share. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops.variants import Shape, Variant


@dataclass(frozen=True)
class Rounded:
    """Where inputs of matmul_int8 are put as bytes [T, K], with f32 [T, K / 32, 4] of scales and sums."""

    bytes: Buffer
    scales: Buffer


@dataclass(frozen=True)
class Shared:
    """step: `struct Step` of shaders/lib/step.wgsl. dummy: bound where an optional input is absent.

    choices: variants that were measured to be faster than the rules' (ops.variants). rounded: None where no product
    may round its input to bytes.
    """

    caps: Caps
    step: Buffer
    dummy: Buffer
    choices: Mapping[Shape, Variant] = field(default_factory=dict)
    rounded: Rounded | None = None
