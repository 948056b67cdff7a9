"""A loaded model: shapes, weights, cache and working buffers on one device, and the calls of one step.

Knows no text, no sampling and no host. A family (llama.py, …) says which tensors it wants and in which order
the operations run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from local_llm.errors import ContextOverflow, InvalidRequest, UnsupportedModel
from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Blobs
from local_llm.models import weights as loading
from local_llm.models.config import Config, rope_table
from local_llm.ops.attention import Cache, Heads, cache_bytes
from local_llm.ops.shared import Shared

MAX_CHUNK = 256  # most tokens in one prefill step: sets the size of the working buffers
DEFAULT_CONTEXT = 4096


class Family(Protocol):
    """What one architecture's module offers."""

    def read_config(self, checkpoint: Checkpoint) -> Config: ...

    def stacks(self, checkpoint: Checkpoint, config: Config) -> list[loading.Stack]: ...

    def layers(self, model: Model, tokens: int) -> list[Call]: ...

    def head(self, model: Model, x: Buffer, tokens: int, logits: Buffer) -> list[Call]: ...


@dataclass(frozen=True)
class Scratch:
    """Working buffers for steps of up to MAX_CHUNK tokens, all f32."""

    x: Buffer  # [T, D] residual stream
    normed: Buffer  # [T, D]
    qkv: Buffer  # [T, (H + 2K) E]
    attended: Buffer  # [T, H E]
    gate_up: Buffer  # [T, 2F]
    hidden: Buffer  # [T, F]
    last: Buffer  # [D]


@dataclass(frozen=True)
class Model:
    """Everything of one loaded model. `family.layers(model, T)` lists the calls of one step of T tokens."""

    family: Family
    config: Config
    memory: Memory
    weights: loading.Weights
    shared: Shared
    heads: Heads
    caches: tuple[Cache, ...]
    rope: Buffer
    scratch: Scratch
    tokens: Buffer
    context: int
    max_chunk: int


def choose_context(config: Config, wanted: int | None) -> int:
    """Positions in the cache. Raises ContextOverflow where more is wanted than the model was trained for."""
    if wanted is None:
        return min(config.context, DEFAULT_CONTEXT)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise InvalidRequest(f"context_size must be a whole number of at least 1, found {wanted!r}.")
    if wanted > config.context:
        raise ContextOverflow(
            f"context_size {wanted} is more than the {config.context} tokens this model was trained for.",
            remedy=f"Ask for at most {config.context}.",
        )
    return wanted


async def load(
    family: Family,
    checkpoint: Checkpoint,
    blobs: Blobs,
    memory: Memory,
    context_size: int | None,
    progress: Callable[[int, int], None],
) -> Model:
    """Check, allocate, stream. On any error the caller closes `memory` and nothing stays behind."""
    config = family.read_config(checkpoint)
    context = choose_context(config, context_size)
    stacks = family.stacks(checkpoint, config)
    loading.check(checkpoint, stacks)
    divisors = await _rope_divisors(checkpoint, blobs, config)
    device = memory.device
    placed, targets = loading.place(checkpoint, stacks, memory)
    max_chunk = min(MAX_CHUNK, context)
    heads = _heads(config, context)
    model = Model(
        family=family,
        config=config,
        memory=memory,
        weights=placed,
        shared=Shared(device.caps, memory.create(16, "step"), memory.create(16, "dummy")),
        heads=heads,
        caches=tuple(_cache(heads, memory) for _ in range(config.layers)),
        rope=memory.upload(rope_table(config.rope, context, divisors).tobytes(), "rope"),
        scratch=_scratch(config, max_chunk, memory),
        tokens=memory.create(4 * max_chunk, "tokens"),
        context=context,
        max_chunk=max_chunk,
    )
    await device.idle()  # a refused allocation shows here, before gigabytes are streamed
    await loading.stream(device, blobs, sorted(checkpoint.tensors.values(), key=lambda t: t.start), targets, progress)
    return model


async def _rope_divisors(checkpoint: Checkpoint, blobs: Blobs, config: Config) -> np.ndarray | None:
    tensor = checkpoint.tensors.get("rope_freqs.weight")
    if tensor is None:
        return None
    if tensor.type.name != "F32" or tensor.shape != (config.rope.width // 2,):
        raise UnsupportedModel(f"{checkpoint.name}: rope_freqs.weight must be F32 [{config.rope.width // 2}].")
    return np.frombuffer(await blobs.read(tensor.start, tensor.stop), "<f4").astype(np.float64)


def _heads(config: Config, context: int) -> Heads:
    return Heads(
        heads=config.heads,
        kv_heads=config.kv_heads,
        width=config.head_width,
        rope_width=config.rope.width,
        context=context,
        interleaved=config.rope.interleaved,
        scale=config.head_width**-0.5,
    )


def _cache(heads: Heads, memory: Memory) -> Cache:
    nbytes = cache_bytes(heads)
    return Cache(memory.create(nbytes, "kv cache"), memory.create(nbytes, "kv cache"))


def _scratch(config: Config, chunk: int, memory: Memory) -> Scratch:
    def floats(count: int) -> Buffer:
        return memory.create(4 * chunk * count, "scratch")

    return Scratch(
        x=floats(config.width),
        normed=floats(config.width),
        qkv=floats(config.q_rows + 2 * config.kv_rows),
        attended=floats(config.q_rows),
        gate_up=floats(2 * config.ffn_width),
        hidden=floats(config.ffn_width),
        last=memory.create(4 * config.width, "scratch"),
    )
