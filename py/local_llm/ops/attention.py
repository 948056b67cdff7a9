"""Rotary positions, the key-value cache, and attention over it for one query or many. Knows no models."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer
from local_llm.ops.shared import Shared

_ROPE_LANES = 64


@dataclass(frozen=True)
class Heads:
    """The shape of one layer's attention.

    heads H, kv_heads K (K divides H), width E (a multiple of 4, 32 to 256), rope_width: how many of E turn (even),
    context C: positions in the cache. interleaved: pairs (2i, 2i + 1) turn, else (i, i + rope_width/2).
    window: a query sees this many positions, itself included (0: all); softcap c: scores become c·tanh(s/c) (0: none).
    """

    heads: int
    kv_heads: int
    width: int
    rope_width: int
    context: int
    interleaved: bool
    scale: float
    window: int = 0
    softcap: float = 0.0


@dataclass(frozen=True)
class Cache:
    """One layer's keys and values, each f16 [K, C, E] packed in u32."""

    k: Buffer
    v: Buffer


def cache_bytes(heads: Heads) -> int:
    """Bytes of one of the two buffers of a layer's Cache."""
    return heads.kv_heads * heads.context * heads.width * 2


def rope_kv(s: Shared, tokens: int, heads: Heads, qkv: Buffer, rope: Buffer, cache: Cache) -> list[Call]:
    """Rotate q in place; write rotated k, and v, to the cache at positions step.position + t.

    qkv f32 [T, (H + 2K) E]: heads of q, then k, then v. rope f32 [C, rope_width/2, 2]: cos, sin.
    """
    kernel = Kernel.of(
        "rope_kv",
        HEADS=heads.heads,
        KV_HEADS=heads.kv_heads,
        WIDTH=heads.width,
        ROPE=heads.rope_width,
        INTERLEAVED=heads.interleaved,
    )
    items = tokens * (heads.heads + 2 * heads.kv_heads) * heads.width // 2
    grid = spread(-(-items // _ROPE_LANES))
    return [Call(kernel, (qkv, rope, cache.k, cache.v, s.step), grid, pack(heads.context))]


def rope_attention(
    s: Shared, tokens: int, heads: Heads, qkv: Buffer, rope: Buffer, cache: Cache, y: Buffer
) -> list[Call]:
    """`rope_kv`, then `attention`; on a GPU one launch does both for one token (qkv then stays as it is)."""
    if tokens > 1 or s.caps.software or heads.width % 8:
        return rope_kv(s, tokens, heads, qkv, rope, cache) + attention(s, tokens, heads, qkv, cache, y)
    lanes = 512 if s.caps.max_invocations >= 512 and s.caps.workgroup_bytes >= 32768 else 256
    kernel = Kernel.of(
        "attention_step", LANES=lanes, WIDTH=heads.width, ROPE=heads.rope_width, INTERLEAVED=heads.interleaved
    )
    buffers = (qkv, rope, cache.k, cache.v, y, s.step)
    return [Call(kernel, buffers, (heads.heads, 1, 1), _numbers(heads))]


def _numbers(heads: Heads) -> bytes:
    """`struct Params` of the attention kernels."""
    numbers = (heads.context, heads.window, float(heads.scale), float(heads.softcap), heads.heads, heads.kv_heads)
    return pack(*numbers)


def attention(s: Shared, tokens: int, heads: Heads, qkv: Buffer, cache: Cache, y: Buffer) -> list[Call]:
    """y[t] = softmax(q[t]·K·scale)·V per head, causal, for f32 y [T, H E]. `rope_kv` must have run on qkv and cache.

    tokens: T, the most that step.count can be; 1 chooses the kernel for decoding.
    """
    # SwiftShader sets workgroup memory to zero once for every four lanes, slowly: the smallest workgroups win there.
    lanes = heads.width // 4 if s.caps.software else 256 if tokens == 1 else 128
    if tokens > 1:
        kernel, grid = "attention", (-(-tokens // 4), heads.heads, 1)
    else:
        kernel, grid = "attention_decode", (heads.heads, 1, 1)
    chosen = Kernel.of(kernel, LANES=lanes, WIDTH=heads.width)
    return [Call(chosen, (qkv, cache.k, cache.v, y, s.step), grid, _numbers(heads))]
