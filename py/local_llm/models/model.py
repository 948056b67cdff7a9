"""A loaded model: shapes, weights, cache and working buffers on one device, and the calls of one step.

Knows no text, no sampling and no host. A family (llama.py, …) says which tensors it wants and in which order
the operations run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from local_llm.errors import ContextOverflow, InvalidRequest
from local_llm.formats.checkpoint import Checkpoint
from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import PACKED_DOT, Blobs
from local_llm.models import weights as loading
from local_llm.models.config import Attention, Config
from local_llm.models.fitting import allocate_fitting
from local_llm.models.rope import Rope, read_divisors, rope_table
from local_llm.ops.attention import MOST_PARTS, MOST_TOKENS, Cache, Heads, allocate_cache
from local_llm.ops.shared import Rounded, Shared
from local_llm.ops.variants import can_round

MAX_CHUNK = 512  # most tokens in one prefill step: sets the size of the working buffers
SOFTWARE_CHUNK = 256  # the same on a CPU, which gains nothing by more and shall be interruptible
DEFAULT_CONTEXT = 4096
WRITTEN_OUT = ("apple",)  # Metal has no instruction for dot4I8Packed, browsers take a dozen for one
LEFT_AT = MOST_TOKENS  # rows of scratch.x before what is left of a few tokens for the next product (models/links.py)
HEADS = ("output", "token_embd")  # of logits, which are products of the very numbers


class Family(Protocol):
    """What one architecture's module offers."""

    def read_config(self, checkpoint: Checkpoint) -> Config: ...

    def stacks(self, checkpoint: Checkpoint, config: Config) -> list[loading.Stack | loading.Vector]: ...

    def layers(self, model: Model, tokens: int) -> list[Call]: ...

    def head(self, model: Model, x: Buffer, tokens: int, logits: Buffer) -> list[Call]: ...


@dataclass(frozen=True)
class Scratch:
    """Working buffers for steps of up to MAX_CHUNK tokens, all f32."""

    x: Buffer  # [T, D] residual stream; room for what is left rounded of a few tokens
    normed: Buffer  # [T, D]
    qkv: Buffer  # [T, (H + 2K) E]
    attended: Buffer  # [T, H E], or in parts (ops.attention.rope_attention)
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
    heads: tuple[Heads, ...]  # these three: one a layer
    caches: tuple[Cache, ...]
    ropes: tuple[Buffer, ...]
    scratch: Scratch
    tokens: Buffer
    context: int
    max_chunk: int
    reach: int = 0  # positions that will be held at most when the calls run (0: all of context)


def check_context(wanted: Any) -> None:
    """Raises InvalidRequest where no model has such a context_size."""
    if wanted is not None and (type(wanted) is not int or wanted < 1):
        raise InvalidRequest(f"context_size must be a whole number of at least 1, found {wanted!r:.60}.")


def choose_context(config: Config, wanted: int | None) -> int:
    """Positions in the cache. Raises ContextOverflow where more is wanted than the model was trained for."""
    check_context(wanted)
    if wanted is None:
        return min(config.context, DEFAULT_CONTEXT)
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
    cache_bits: int = 16,
    int8: bool = True,
) -> Model:
    """Check, allocate, stream. On any error the caller closes `memory` and nothing stays behind.

    Without a context_size the context is chosen to fit. Raises OutOfMemory, which says what would. cache_bits: 16 or 8
    for each key and value; an encoder, which keeps none from one step to the next, has 16. int8: whether products may
    round their inputs to bytes where that is faster.
    """
    config = family.read_config(checkpoint)
    most = choose_context(config, context_size)
    wanted = family.stacks(checkpoint, config)
    loading.check(checkpoint, wanted)

    def allocate(memory: Memory, context: int) -> tuple[Model, dict[str, loading.Target]]:
        model, targets = _allocate(family, checkpoint, config, wanted, memory, context, cache_bits)
        return (_rounding(model) if int8 else model), targets

    model, targets = await allocate_fitting(allocate, memory, most, exact=context_size is not None)
    device = memory.device
    tables = await _rope_tables(checkpoint, blobs, config, model.context)
    places = {layer.rope: buffer for layer, buffer in zip(config.attention, model.ropes, strict=True)}
    for rope, table in tables.items():
        if table.size:
            device.write(places[rope].handle, table.tobytes())
    await loading.stream(device, blobs, list(checkpoint.tensors.values()), targets, progress)
    return model


def _allocate(
    family: Family,
    checkpoint: Checkpoint,
    config: Config,
    wanted: Sequence[loading.Stack | loading.Vector],
    memory: Memory,
    context: int,
    cache_bits: int,
) -> tuple[Model, dict[str, loading.Target]]:
    """All that the model holds, and where each tensor goes; nothing is written yet."""
    caps = memory.device.caps
    placed, targets = loading.place(checkpoint, wanted, memory)
    max_chunk = min(SOFTWARE_CHUNK if caps.software else MAX_CHUNK, context) if config.causal else context
    bits = cache_bits if config.causal else 16
    heads = tuple(_heads(config, layer, context, max_chunk, bits) for layer in config.attention)
    turns = dict.fromkeys(layer.rope for layer in config.attention)
    ropes = {rope: memory.create(4 * context * rope.width, "rope") for rope in turns}
    model = Model(
        family=family,
        config=config,
        memory=memory,
        weights=placed,
        shared=Shared(caps, memory.create(16, "step"), memory.create(16, "dummy")),
        heads=heads,
        caches=tuple(_cache(*each, config, memory) for each in zip(heads, config.attention, strict=True)),
        ropes=tuple(ropes[layer.rope] for layer in config.attention),
        scratch=scratch_of(config, max_chunk, memory),
        tokens=memory.create(4 * max_chunk, "tokens"),
        context=context,
        max_chunk=max_chunk,
    )
    return model, targets


def _rounding(model: Model) -> Model:
    """The model with room for inputs rounded to bytes, where its adapter and its weights make use of it."""
    caps, stacks = model.shared.caps, model.weights.matrices.items()
    if caps.software or PACKED_DOT not in caps.features or caps.vendor.lower() in WRITTEN_OUT:
        return model
    served = [one.weight for name, stack in stacks if name not in HEADS for one in stack if can_round(one.weight)]
    if not served:
        return model
    count = model.max_chunk * max(weight.cols for weight in served)
    rounded = Rounded(model.memory.create(count, "rounded"), model.memory.create(count // 2, "rounded"))
    return replace(model, shared=replace(model.shared, rounded=rounded))


def exact(model: Model) -> Model:
    """The model whose products take their inputs as they are, by the variants that were chosen for exact ones."""
    chosen = {replace(shape, int8=False): one for shape, one in model.shared.choices.items() if not one.int8}
    return replace(model, shared=replace(model.shared, rounded=None, choices=chosen))


async def _rope_tables(checkpoint: Checkpoint, blobs: Blobs, config: Config, context: int) -> dict[Rope, np.ndarray]:
    """One table for each way in which a layer's positions are rotated."""
    tables: dict[Rope, np.ndarray] = {}
    for rope in dict.fromkeys(layer.rope for layer in config.attention):
        divisors = await read_divisors(checkpoint, blobs, rope, context) if rope.width else None
        tables[rope] = rope_table(rope, context, divisors)
    return tables


def _heads(config: Config, layer: Attention, context: int, max_chunk: int, bits: int) -> Heads:
    """A layer with a window keeps what a chunk of queries can see: window + max_chunk positions."""
    seen = layer.window or layer.taps
    slots = seen + max_chunk if seen else context
    return Heads(
        heads=config.heads,
        kv_heads=config.kv_heads,
        width=config.head_width,
        rope_width=layer.rope.width,
        context=min(slots, context),
        interleaved=layer.rope.interleaved,
        scale=config.scale,
        window=seen,
        softcap=config.score_cap,
        ring=slots < context,
        causal=config.causal,
        norm=config.qk_norm,
        eps=config.eps,
        bits=bits,
    )


def _cache(heads: Heads, layer: Attention, config: Config, memory: Memory) -> Cache:
    if layer.taps:  # a convolution's inputs, f32 [slots, D], in the place of k
        return Cache(memory.create(4 * heads.context * config.width, "kv cache"), memory.create(16, "kv cache"))
    return allocate_cache(heads, memory)


def scratch_of(config: Config, chunk: int, memory: Memory) -> Scratch:
    """Working buffers for steps of up to `chunk` tokens."""

    def floats(count: int) -> Buffer:
        return memory.create(4 * chunk * count, "scratch")

    return Scratch(
        x=memory.create(4 * max(chunk, LEFT_AT * 3 // 2) * config.width, "scratch"),
        normed=floats(config.width),
        qkv=floats(config.q_rows + 2 * config.kv_rows),
        attended=memory.create(4 * max(chunk, 3 * MOST_PARTS) * config.q_rows, "scratch"),
        gate_up=floats(2 * config.ffn_width),
        hidden=floats(config.ffn_width),
        last=memory.create(4 * config.width, "scratch"),
    )
