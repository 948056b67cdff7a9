"""Whether an adapter computes right what a model is about to ask of it: its kernels against numpy, on its own weights.

Drivers do miscompile. Each variant of a matrix product that the model's shapes choose runs on one of the model's own
matrices, a few rows of which are decoded and multiplied here; attention and the choice of a token run on random
numbers. Knows no host and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from local_llm.gpu.kernel import Call
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.plan import Compiler
from local_llm.models.model import Model
from local_llm.ops.attention import Cache, Heads, rope_attention
from local_llm.ops.embedding import embed
from local_llm.ops.linear import Variant, matmul, matmul_variant, matvec, matvec_variant
from local_llm.ops.sampling import allocate_sampler, sample
from local_llm.ops.shared import Shared
from local_llm.ops.weight import Weight

ROWS = 8  # of a matrix, that are multiplied here as well
TOKENS, TILE = 5, 64  # of a matmul; the most that a workgroup takes
POSITION, SLOTS = 6, 8  # of an attention step
NEAR = 2e-3  # of the sum of the terms' sizes: keys and values are f16, sums f32


@dataclass(frozen=True)
class Case:
    """One kernel's calls, and whether what they left is right."""

    name: str
    calls: list[Call]
    right: Callable[[], Awaitable[bool]]


def case_names(model: Model) -> list[str]:
    """What would be tested."""
    memory = Memory(model.memory.device)
    try:
        return [name for name, _ in _cases(model, memory)]
    finally:
        memory.close()


async def wrong_kernels(model: Model) -> list[str]:
    """The names, as in case_names, of what the adapter gets wrong. The model's own buffers stay as they are."""
    memory = Memory(model.memory.device)
    try:
        cases = [make() for _, make in _cases(model, memory)]
        compiler = Compiler(memory.device, memory)
        await compiler.prepare([call for case in cases for call in case.calls])
        for case in cases:
            memory.device.submit(compiler.record(case.calls))
        return [case.name for case in cases if not await case.right()]
    finally:
        memory.close()


def _cases(model: Model, memory: Memory) -> Iterator[tuple[str, Callable[[], Case]]]:
    caps, seen = model.shared.caps, set[str]()
    for placed in (part for parts in model.weights.matrices.values() for part in parts):
        weight = placed.weight
        kinds = [("matvec", matvec_variant(caps, weight), _vector_case)]
        if weight.rows < model.config.vocab:
            kinds.append(("matmul", matmul_variant(caps, weight, model.max_chunk)[0], _matrix_case))
        for kernel, variant, make in kinds:
            name = _name(kernel, variant, weight)
            if name not in seen:
                seen.add(name)
                yield name, lambda name=name, make=make, weight=weight: make(name, model, weight, memory)
    for heads, layer in zip(model.heads, model.config.attention, strict=True):
        name = f"attention_step {heads.heads}/{heads.kv_heads}×{heads.width}"
        if name not in seen and not layer.taps and heads.causal and heads.width % 8 == 0 and not caps.software:
            seen.add(name)
            yield name, lambda name=name, heads=heads: _attention_case(name, model, heads, memory)
    if model.config.causal:
        yield "argmax", lambda: _choice_case("argmax", model, memory)


def _name(kernel: str, variant: Variant, weight: Weight) -> str:
    constants = ",".join(f"{key}={int(value)}" for key, value in sorted(variant.constants.items()))
    return f"{kernel}{variant.suffix} {weight.format} {constants}"


def _shared(model: Model, memory: Memory, position: int, count: int) -> Shared:
    step = memory.upload(np.array([position, count, 0, 0], "<u4").tobytes(), "proof")
    return Shared(model.shared.caps, step, memory.create(16, "proof"))


async def _read(memory: Memory, buffer: Buffer, *shape: int) -> np.ndarray:
    data = await memory.device.read(buffer.handle, 4 * int(np.prod(shape)))
    return np.frombuffer(data, "<f4").reshape(shape)


def _near(got: np.ndarray, wanted: np.ndarray, size: np.ndarray) -> bool:
    return bool(np.all(np.abs(got - wanted) <= NEAR * size + 1e-30))  # NaN is not near


def _vector_case(name: str, model: Model, weight: Weight, memory: Memory) -> Case:
    return _product_case(name, model, weight, memory, 1)


def _matrix_case(name: str, model: Model, weight: Weight, memory: Memory) -> Case:
    return _product_case(name, model, weight, memory, TOKENS)


def _product_case(name: str, model: Model, weight: Weight, memory: Memory, tokens: int) -> Case:
    rows = np.unique(np.linspace(0, weight.rows - 1, ROWS).astype("<u4"))
    count = len(rows)
    x = np.random.default_rng(weight.rows).standard_normal((tokens, weight.cols), np.float32)
    padded = np.zeros((TILE if tokens > 1 else 1, weight.cols), "<f4")
    padded[:tokens] = x
    given = memory.upload(padded.tobytes(), "proof")
    decoded = memory.create(4 * count * weight.cols, "proof")
    made = memory.create(4 * len(padded) * weight.rows, "proof")
    shared, ids = _shared(model, memory, 0, tokens), memory.upload(rows.tobytes(), "proof")
    calls = embed(_shared(model, memory, 0, count), count, weight, ids, decoded)
    if tokens > 1:
        calls += matmul(shared, model.max_chunk, weight, given, made, y_stride=weight.rows)
    else:
        calls += matvec(shared, weight, given, made)

    async def right() -> bool:
        matrix = (await _read(memory, decoded, count, weight.cols)).astype(np.float64)
        got = (await _read(memory, made, tokens, weight.rows))[:, rows]
        return _near(got, x @ matrix.T, np.abs(x) @ np.abs(matrix.T))

    return Case(name, calls, right)


def _attention_case(name: str, model: Model, heads: Heads, memory: Memory) -> Case:
    h, k, e, half = heads.heads, heads.kv_heads, heads.width, heads.rope_width // 2
    heads = replace(heads, context=SLOTS, window=0, ring=False, norm="", softcap=0.0)
    random = np.random.default_rng(h)
    qkv = random.standard_normal((h + 2 * k, e), np.float32)
    held = random.standard_normal((2, k, SLOTS, e)).astype(np.float16)
    angle = random.uniform(0, 6, (SLOTS, half)).astype(np.float32)
    table = np.stack([np.cos(angle), np.sin(angle)], -1)
    caches = Cache(*(memory.upload(part.tobytes(), "proof") for part in held))
    rope = memory.upload(table.tobytes() or bytes(16), "proof")
    made = memory.create(4 * h * e, "proof")
    given = memory.upload(qkv.tobytes(), "proof")
    shared = _shared(model, memory, POSITION, 1)
    calls = rope_attention(shared, 1, heads, given, rope, caches, made, None, SLOTS)

    async def right() -> bool:
        turned = qkv.astype(np.float64)
        low, high = (slice(0, 2 * half, 2), slice(1, 2 * half, 2))
        if not heads.interleaved:
            low, high = slice(0, half), slice(half, 2 * half)
        a, b, (cos, sin) = turned[: h + k, low].copy(), turned[: h + k, high].copy(), table[POSITION].T
        turned[: h + k, low], turned[: h + k, high] = a * cos - b * sin, a * sin + b * cos
        keys, values = held.astype(np.float64)[:, :, : POSITION + 1]
        keys[:, POSITION], values[:, POSITION] = turned[h : h + k], turned[h + k :]
        keys, values = np.repeat(keys, h // k, 0), np.repeat(values, h // k, 0)
        scores = np.einsum("he,hpe->hp", turned[:h], keys) * heads.scale
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        wanted = np.einsum("hp,hpe->he", weights, values)
        return _near(await _read(memory, made, h, e), wanted, np.full((h, e), 4.0))

    return Case(name, calls, right)


def _choice_case(name: str, model: Model, memory: Memory) -> Case:
    vocab = model.config.vocab
    logits = np.random.default_rng(vocab).standard_normal(vocab, np.float32)
    tokens, ring = memory.create(16, "proof"), memory.create(16, "proof")
    shared = _shared(model, memory, 0, 1)
    buffers = allocate_sampler(memory, shared.caps, vocab, 4, tokens, ring)
    memory.device.write(buffers.logits.handle, logits.tobytes())
    calls = sample(shared, buffers, penalties=False, noise=False, cut=False)

    async def right() -> bool:
        return (await memory.device.read(tokens.handle, 4)) == int(logits.argmax()).to_bytes(4, "little")

    return Case(name, calls, right)
