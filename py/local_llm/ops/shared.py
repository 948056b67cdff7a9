"""What every operation needs: the adapter's capabilities and the buffers all kernels share. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.gpu.memory import Buffer
from local_llm.gpu.ports import Caps


@dataclass(frozen=True)
class Shared:
    """step: `struct Step` of shaders/lib/step.wgsl. dummy: bound where an optional input is absent."""

    caps: Caps
    step: Buffer
    dummy: Buffer
