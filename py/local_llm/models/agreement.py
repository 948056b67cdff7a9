"""Whether steps of a few tokens leave what steps of one leave, on this adapter: drivers do miscompile.

The model's own weights and pipelines, with buffers apart from those in use. Knows no drafts.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.few import few_layers
from local_llm.models.model import Model, scratch_of
from local_llm.ops.attention import REACHES, allocate_cache

SLOTS = 64  # positions of the caches here
CHUNK = 64  # most tokens of the working buffers here: enough for what attention leaves in parts
NEAR = 1e-3  # of the largest number


async def few_agree(model: Model, tokens: int, alike: bool = True) -> bool:
    """A step of so many tokens against as many plain steps, from position 0 on, with attention whole and in parts.

    alike: as of few_layers.
    """
    memory = Memory(model.memory.device)
    try:
        here = _apart(model, memory)
        reaches = [0, *(reach for reach in REACHES[2:3] if reach < model.context)]
        return all([await _agree(replace(here, reach=reach), tokens, alike) for reach in reaches])
    finally:
        memory.close()


def _apart(model: Model, memory: Memory) -> Model:
    heads = tuple(replace(each, context=min(each.context, SLOTS)) for each in model.heads)
    return replace(
        model,
        memory=memory,
        shared=replace(model.shared, step=memory.create(16, "proof"), dummy=memory.create(16, "proof")),
        heads=heads,
        caches=tuple(allocate_cache(each, memory) for each in heads),
        scratch=scratch_of(model.config, min(CHUNK, model.max_chunk), memory),
        tokens=memory.create(4 * CHUNK, "proof"),
    )


async def _agree(model: Model, tokens: int, alike: bool) -> bool:
    device, width = model.memory.device, model.config.width
    compiler = Compiler(device, model.memory)
    ids = [position % model.config.vocab for position in range(1, tokens + 1)]

    async def left(calls: list[Call], position: int, count: int) -> np.ndarray:
        await compiler.prepare(calls)
        device.write(model.tokens.handle, struct.pack(f"<{count}I", *ids[position : position + count]))
        device.write(model.shared.step.handle, struct.pack("<4I", position, count, 0, 0))
        device.submit(compiler.record(calls))
        return np.frombuffer(await device.read(model.scratch.x.handle, 4 * count * width), "<f4").reshape(count, width)

    plain = np.concatenate([await left(model.family.layers(model, 1), t, 1) for t in range(tokens)])
    few = await left(few_layers(model, tokens, alike), 0, tokens)
    return bool(np.abs(few - plain).max() <= NEAR * np.abs(plain).max())  # NaN is not
