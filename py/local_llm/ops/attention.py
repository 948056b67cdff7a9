"""Rotary positions, the key-value cache, and attention over it for one query or many. Knows no models."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm.gpu.kernel import Call, Kernel, pack, spread
from local_llm.gpu.memory import Buffer, Memory
from local_llm.gpu.ports import Caps
from local_llm.ops.linear import Parts
from local_llm.ops.shared import Shared

# Positions that a query sees → into how many parts they are split, with how many lanes each: measured on an H200, see
# docs/log.md.
_PARTS = ((128, 1, 256), (512, 2, 256), (1024, 4, 256), (4096, 8, 256), (1 << 32, 16, 256))
MOST_PARTS = 16
MOST_TOKENS = 8  # of attention_few
ENOUGH_WORKGROUPS = 128  # of attention_few, for a GPU
REACHES = tuple(reach for reach, _, _ in _PARTS[:-1])  # where it pays to split anew
_ROPE_LANES = 64
_NORMS = {"": 0, "head": 1, "whole": 2}


@dataclass(frozen=True)
class Heads:
    """The shape of one layer's attention.

    heads H, kv_heads K (K divides H), width E (a multiple of 4, 16 to 256), rope_width: how many of E turn (even),
    context C: positions in the cache. interleaved: pairs (2i, 2i + 1) turn, else (i, i + rope_width/2).
    window: a query sees this many positions, itself included (0: all); softcap c: scores become c·tanh(s/c) (0: none).
    ring: position p lies in place p mod C of the cache, where window + T - 1 fit; causal: a query sees none after it.
    norm: RMS norms of q and k before they turn: "", "head" (each head alone) or "whole" (all heads of a token as one).
    bits: of a number in the cache, 16 or 8.
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
    ring: bool = False
    causal: bool = True
    norm: str = ""
    eps: float = 0.0  # of norm
    bits: int = 16


@dataclass(frozen=True)
class Cache:
    """One layer's keys and values, each [K, C, E] in u32: pairs of f16, or bytes as shaders/lib/q8_cache.wgsl says."""

    k: Buffer
    v: Buffer


def key_bytes(heads: Heads) -> int:
    """Bytes of a layer's Cache.k; with 8 bits the peaks of keys and values are among them."""
    return value_bytes(heads) + _peak_bytes(heads)


def value_bytes(heads: Heads) -> int:
    """Bytes of a layer's Cache.v."""
    return heads.kv_heads * heads.context * heads.width * heads.bits // 8


def _peak_bytes(heads: Heads) -> int:
    return heads.kv_heads * heads.context * 8 * _peak_pairs(heads) if heads.bits == 8 else 0


def _peak_pairs(heads: Heads) -> int:
    """PAIRS of shaders/lib/q8_cache.wgsl."""
    return -(-heads.width // 64)


def allocate_cache(heads: Heads, memory: Memory) -> Cache:
    """A layer's empty cache."""
    return Cache(memory.create(key_bytes(heads), "kv cache"), memory.create(value_bytes(heads), "kv cache"))


def kept_as(heads: Heads, by: str) -> dict[str, str]:
    """How a kernel that takes keys and values by "pairs", "fours" or "eights" finds them."""
    return {f"f16_{by}": f"q8_{by}"} if heads.bits == 8 else {}


def rope_kv(s: Shared, tokens: int, heads: Heads, qkv: Buffer, rope: Buffer, cache: Cache) -> list[Call]:
    """Rotate q in place; write rotated k, and v, to the cache at positions step.position + t.

    qkv f32 [T, (H + 2K) E]: heads of q, then k, then v. rope f32 [positions, rope_width/2, 2]: cos, sin.
    """
    kernel = Kernel.of(
        "rope_kv",
        kept_as(heads, "pairs"),
        HEADS=heads.heads,
        KV_HEADS=heads.kv_heads,
        WIDTH=heads.width,
        ROPE=heads.rope_width,
        INTERLEAVED=heads.interleaved,
        RING=heads.ring,
    )
    each = 32 * _peak_pairs(heads) if heads.bits == 8 else heads.width // 2  # LANES_A_ROW
    items = tokens * (heads.heads + 2 * heads.kv_heads) * each
    grid = spread(-(-items // _ROPE_LANES))
    return [Call(kernel, (qkv, rope, cache.k, cache.v, s.step), grid, pack(heads.context))]


def qk_norm(s: Shared, tokens: int, heads: Heads, qkv: Buffer, gains: Buffer) -> list[Call]:
    """The RMS norms of q and k in place. gains: f32 [2, E] for norm "head", f32 [(H + K) E] for "whole"."""
    whole = heads.norm == "whole"
    # As for attention, the smallest workgroups are the fastest on SwiftShader.
    kernel = Kernel.of("qk_norm", LANES=4 if s.caps.software else 64, WIDTH=heads.width, NORM=_NORMS[heads.norm])
    grid = (2 if whole else heads.heads + heads.kv_heads, tokens, 1)
    return [Call(kernel, (qkv, gains, s.step), grid, pack(heads.heads, heads.kv_heads, float(heads.eps)))]


def rope_attention(
    s: Shared,
    tokens: int,
    heads: Heads,
    qkv: Buffer,
    rope: Buffer,
    cache: Cache,
    y: Buffer,
    gains: Buffer | None = None,
    reach: int = 0,
) -> list[Call]:
    """`qk_norm` if there are gains, `rope_kv`, `attention`; on a GPU one launch for one token (qkv stays as it is).

    reach: how many positions will be held at most, the new one included (0: all that fit). y is f32 [T, H E], or what
    `matvec` joins where `parts_for` says parts.
    """
    if not _in_one_launch(s, tokens, heads):
        normed = qk_norm(s, tokens, heads, qkv, gains) if gains else []
        return normed + rope_kv(s, tokens, heads, qkv, rope, cache) + attention(s, tokens, heads, qkv, cache, y)
    parts, lanes = split(heads, reach)
    kernel = Kernel.of(
        "attention_step",
        kept_as(heads, "eights"),
        LANES=lanes,
        WIDTH=heads.width,
        ROPE=heads.rope_width,
        INTERLEAVED=heads.interleaved,
        RING=heads.ring,
        NORM=_NORMS[heads.norm] if gains else 0,
    )
    buffers = (qkv, rope, gains or s.dummy, cache.k, cache.v, y, s.step)
    return [Call(kernel, buffers, (heads.heads, parts, 1), numbers(heads))]


def few_tokens(caps: Caps, heads: Heads, past: int = 0) -> int:
    """How many tokens `attention_few` takes at most, for which there is workgroup memory: MOST_TOKENS, half, or 0.

    past: as of attention_few.
    """
    if heads.width % 8:
        return 0
    return next(
        (count for count in (MOST_TOKENS, MOST_TOKENS // 2) if _few_bytes(heads, count, past) <= caps.workgroup_bytes),
        0,
    )


def attend_floats(heads: Heads, lanes: int, own_pool: int = 0) -> int:
    """Numbers in the workgroup memory of lib/attend.wgsl."""
    columns = heads.width // 8
    slices = lanes // columns
    chunk = min(8, max(1, 256 // slices)) * slices
    pool = max(2 * lanes, own_pool, chunk * (columns + 1), 8 * columns * (slices + 1))
    return pool + max(lanes, chunk) + slices + 1 + heads.width


def made_bytes(heads: Heads, tokens: int) -> int:
    """Workgroup memory for keys and values of a step's tokens."""
    columns, rows = heads.width // 8, 2 * tokens
    return rows * (8 * columns + 4 * _peak_pairs(heads)) if heads.bits == 8 else rows * 16 * columns


def _few_bytes(heads: Heads, tokens: int, past: int) -> int:
    """Workgroup memory of attention_few, as WebGPU counts it: each variable may begin at a multiple of 16."""
    norms = 128  # lib/head_norms.wgsl
    return made_bytes(heads, tokens) + 4 * attend_floats(heads, past or split(heads, 0)[1]) + norms + 16 * 6


def parts_for(s: Shared, tokens: int, heads: Heads, reach: int = 0, past: bool = False) -> Parts | None:
    """The parts in which `rope_attention` leaves its result for `matvec` to join; None where it joins them itself.

    past: those of qkv_attention.
    """
    count = split(heads, reach)[0] if _in_one_launch(s, tokens, heads) else 1
    return _left(heads, count, past)


def few_parts(heads: Heads, reach: int, tokens: int, alike: bool) -> int:
    """Parts for attention_few. alike: those of a step of one token, for its numbers; else no more than fill a GPU."""
    most = split(heads, reach)[0]
    return most if alike else min(most, -(-ENOUGH_WORKGROUPS // (heads.heads * tokens)))


def few_left(heads: Heads, parts: int, past: int) -> Parts | None:
    """As `parts_for`, of attention_few."""
    return _left(heads, parts, past > 0)


def _left(heads: Heads, parts: int, past: bool) -> Parts | None:
    if past:
        return Parts(parts, heads.width, heads.heads // heads.kv_heads, heads.heads)
    return Parts(parts, heads.width) if parts > 1 else None


def _in_one_launch(s: Shared, tokens: int, heads: Heads) -> bool:
    return tokens == 1 and not s.caps.software and heads.width % 8 == 0


def reach_of(end: int) -> int:
    """What of REACHES serves positions below `end`; 0, which serves all, past the last."""
    return next((most for most in REACHES if end <= most), 0)


def split(heads: Heads, reach: int) -> tuple[int, int]:
    """Parts of the positions for a step's attention, and lanes of a workgroup. reach: as of rope_attention."""
    reach = reach or heads.context
    seen = min(reach, heads.window or reach)
    return next((parts, lanes) for most, parts, lanes in _PARTS if seen <= most)


def numbers(heads: Heads, *more: int | float) -> bytes:
    """`struct Params` of the attention kernels, and what one has more."""
    scale, softcap, eps = float(heads.scale), float(heads.softcap), float(heads.eps)
    return pack(heads.context, heads.window, scale, softcap, heads.heads, heads.kv_heads, *(more or (eps,)))


def attention(s: Shared, tokens: int, heads: Heads, qkv: Buffer, cache: Cache, y: Buffer) -> list[Call]:
    """y[t] = softmax(q[t]·K·scale)·V per head, for f32 y [T, H E]. `rope_kv` must have run on qkv and cache.

    tokens: T, the most that step.count can be; 1 chooses the kernel for decoding.
    """
    # SwiftShader sets workgroup memory to zero once for every four lanes, slowly: the smallest workgroups win there.
    lanes = heads.width // 4 if s.caps.software else 256 if tokens == 1 else 128
    if tokens > 1:
        constants = {"LANES": lanes, "WIDTH": heads.width, "RING": heads.ring, "CAUSAL": heads.causal}
        chosen = Kernel.of("attention", kept_as(heads, "fours"), **constants)
        grid = (-(-tokens // 4), heads.heads, 1)
    else:
        chosen = Kernel.of("attention_decode", kept_as(heads, "fours"), LANES=lanes, WIDTH=heads.width, RING=heads.ring)
        grid = (heads.heads, 1, 1)
    return [Call(chosen, (qkv, cache.k, cache.v, y, s.step), grid, numbers(heads))]


def attention_few(
    s: Shared,
    tokens: int,
    heads: Heads,
    qkv: Buffer,
    rope: Buffer,
    cache: Cache,
    y: Buffer,
    gains: Buffer | None = None,
    parts: int = 1,
    past: int = 0,
) -> list[Call]:
    """`rope_attention` for `tokens` tokens, at most MOST_TOKENS, in one launch; 8 divides a head's width.

    y is f32 [tokens, H E], or what `matvec_few` joins where `few_left` says parts. parts: of few_parts. past: the lanes
    of a qkv_attention whose numbers they are: each token's own position is left to what joins them.
    """
    lanes = past or split(heads, 0)[1]
    kernel = Kernel.of(
        "attention_few",
        kept_as(heads, "eights"),
        LANES=lanes,
        WIDTH=heads.width,
        ROPE=heads.rope_width,
        INTERLEAVED=heads.interleaved,
        RING=heads.ring,
        NORM=_NORMS[heads.norm] if gains else 0,
        TOKENS=tokens,
        PAST=past > 0,
    )
    buffers = (qkv, rope, gains or s.dummy, cache.k, cache.v, y, s.step)
    return [Call(kernel, buffers, (heads.heads, parts, tokens), numbers(heads))]
