"""What every operation needs: the adapter's capabilities and the buffers all kernels share. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps
from local_llm.ops.variants import Shape, Variant


@dataclass(frozen=True)
class Shared:
    """step: `struct Step` of shaders/lib/step.wgsl. dummy: bound where an optional input is absent.

    choices: variants that were measured to be faster than the rules' (ops.variants).
    """

    caps: Caps
    step: Buffer
    dummy: Buffer
    choices: Mapping[Shape, Variant] = field(default_factory=dict)
